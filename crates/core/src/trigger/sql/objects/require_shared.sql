-- Checks the shared objects and the owners under the lock, because they may have changed since the plan was made.
DO {{body}};
