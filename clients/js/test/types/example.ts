// Compiled, not run: `npm run types`.

import { connect, PgheraldError, type Message, type Stream } from "pgherald";

interface User {
  id: number;
  email: string;
}

interface Order {
  total: string;
}

type Rows = { users: User; orders: Order };

export async function follow(signal: AbortSignal): Promise<void> {
  const stream: Stream<Rows> = connect<Rows>("https://events.example.org", {
    tables: ["public.users"],
    operations: ["insert", "update"],
    keys: [7, "a", 9007199254740993n, [1, "b"]],
    columns: { tenant: "acme", active: true },
    since: "opaque",
    transport: "sse",
    token: async () => "secret",
    signal,
    onStatus: (status) => {
      if (status.state === "waiting") console.log(status.error.kind, status.retryMs);
      if (status.state === "open") console.log(status.hello.heartbeat_ms);
    },
  });
  try {
    for await (const message of stream) show(message);
  } catch (error) {
    if (error instanceof PgheraldError && error.kind === "unauthorized") console.log(error.status, error.code);
    else throw error;
  }
  stream.close();
}

function show(message: Message<Rows>): string {
  switch (message.type) {
    case "event": {
      const { event } = message;
      if (event.table === "users") return event.columns?.[0]?.email ?? "";
      const total: string | undefined = event.columns?.[0]?.total;
      return total ?? "";
    }
    case "resync":
      return message.scope.tables?.join() ?? message.reasons.join();
    case "lagged":
      return String(message.missed);
    case "down":
      return message.reason;
    case "live":
    case "resumed":
      return message.type;
  }
}

export async function untyped(): Promise<unknown> {
  for await (const message of connect(new URL("https://events.example.org"))) {
    if (message.type === "event") return message.event.columns?.[0]?.["email"];
  }
  return undefined;
}

// @ts-expect-error: unknown operation
connect("https://events.example.org", { operations: ["upsert"] });
// @ts-expect-error: unknown option
connect("https://events.example.org", { table: "users" });
// @ts-expect-error: a ticket is used once, so it must be a function
connect("https://events.example.org", { ticket: "abc" });
