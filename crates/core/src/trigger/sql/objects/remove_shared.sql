-- Removes the shared objects with the last table. This is decided under the lock, not when the plan is made.
DO {{body}};
