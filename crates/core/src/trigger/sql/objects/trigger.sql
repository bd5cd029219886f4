{{create}} {{trigger}} AFTER {{event}} ON {{table}}
    {{referencing}}FOR EACH {{level}} EXECUTE FUNCTION {{function}}();
