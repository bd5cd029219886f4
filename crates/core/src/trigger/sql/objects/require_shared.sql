-- Asked under the lock, not when this was planned.
DO {{body}};
