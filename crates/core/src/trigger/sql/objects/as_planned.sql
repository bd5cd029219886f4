-- The plan depends on the installation at the time when it was made. It must not remove what another program has installed since.
DO {{body}};
