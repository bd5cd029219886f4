-- What all tables share goes with the last of them. Asked under the lock, not when this was planned.
DO {{body}};
