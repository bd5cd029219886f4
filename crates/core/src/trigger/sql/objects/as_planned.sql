-- The plan depends on what was installed when it was made. It must not remove what another program has installed since.
DO {{body}};
