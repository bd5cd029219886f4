
    SET quote_all_identifiers = 'off'
