DELETE FROM pgherald.consumer_node WHERE group_name = $1 AND id = $2
