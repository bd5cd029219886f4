-- Sessions whose transactions this role may not see.
SELECT format('role %s may not see the sessions of other roles', current_user),
    format('GRANT pg_read_all_stats TO %I;', current_user)
WHERE NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
