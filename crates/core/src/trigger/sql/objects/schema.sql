-- Of two that make it at once, the second waits for the first, and finds it made.
DO {{body}};
