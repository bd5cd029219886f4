-- Checked under the lock, not when the plan was made.
DO {{body}};
