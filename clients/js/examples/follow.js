import { connect } from "pgherald";

const url = process.argv[2] ?? "http://127.0.0.1:8080";
const changes = connect(url, {
  tables: ["public.users"],
  onStatus: ({ state, error }) => console.error(state, error?.message ?? ""),
});

for await (const message of changes) {
  switch (message.type) {
    case "resync": // changes may have been missed: read the table again, here and after `lagged`
    case "lagged":
      console.log("read the table again");
      break;
    case "event": {
      const { operation, keys, columns } = message.event;
      console.log(operation, keys?.[0] ?? "any row", columns?.[0] ?? "");
      break;
    }
    default: // live, down, resumed
      console.log(message.type);
  }
}
