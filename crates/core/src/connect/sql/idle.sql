-- Connections for attempts are idle between events. Servers before version 14 end no idle sessions.
SELECT pg_catalog.set_config(setting.name, '0', false)
FROM pg_catalog.pg_settings AS setting
WHERE setting.name OPERATOR(pg_catalog.=) 'idle_session_timeout'
