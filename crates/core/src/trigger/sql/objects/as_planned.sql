-- What is planned rests on what was installed. Nothing that another program has installed meanwhile is to be taken away.
DO {{body}};
