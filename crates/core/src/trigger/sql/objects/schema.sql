-- If two sessions create the schema at the same time, the second one waits for the first one and then ignores the duplicate.
DO {{body}};
