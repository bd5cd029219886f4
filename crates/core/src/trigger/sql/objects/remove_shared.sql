-- The shared objects are removed with the last table. This is decided under the lock, not when the plan was made.
DO {{body}};
