-- If two sessions create it at once, the second waits for the first, and finds it created.
DO {{body}};
