//! The macros of pgherald: [`derive(Table)`](derive@Table) and [`#[cached]`](macro@cached).
//!
//! Use them through the `pgherald` crate, which re-exports both.

mod cached;
mod errors;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements the trait `Table`, which maps a struct to a table.
///
/// The row key is the type of the key column's field, or a tuple of them in the key's order.
///
/// ```
/// use pgherald::Table;
///
/// #[derive(Table)]
/// #[table(name = "users", key = "id")]
/// struct User {
///     id: i64,
///     email: String,
/// }
///
/// #[derive(Table)]
/// #[table(name = "shop.order_lines", key = ["order_id", "line"])]
/// struct OrderLine {
///     order_id: i64,
///     line: i32,
/// }
///
/// assert_eq!((User::SCHEMA, User::NAME, User::KEY), ("public", "users", &["id"][..]));
/// assert_eq!((OrderLine::SCHEMA, OrderLine::NAME), ("shop", "order_lines"));
/// let key: <OrderLine as Table>::Key = (7, 1);
/// # let _ = key;
/// ```
///
/// # Options of `#[table(…)]`
///
/// | option | meaning |
/// |---|---|
/// | `name = "users"`, `name = "app.users"` | The table, with its schema or without. Required: it is not guessed. |
/// | `schema = "app"` | The schema, if `name` does not contain it. The default is `public`. |
/// | `key = "id"`, `key = ["tenant", "id"]` | The columns of the row key, in order. Required. |
/// | `crate = path` | The path of `pgherald`, if it was renamed or re-exported. |
///
/// Write names as they are in the catalog; they are case-sensitive. A name that contains a dot or a quote is written
/// in quotes, with its quotes doubled: `name = "\"My Schema\".\"a.b\""`.
///
/// A key column is matched with the field of the same name, after `#[serde(rename = "…")]` and `rename_all`, because rows are
/// read with serde.
///
/// # Columns
///
/// If the struct implements `serde::Deserialize`, its other fields are columns that events have to carry.
/// `TriggerSpec::of` and `watch` require them, and methods such as `Inserted::row` return the struct. The macro respects these
/// attributes of serde:
///
/// | attribute | column |
/// |---|---|
/// | `rename`, `rename_all` | has the name that serde reads |
/// | `default` | optional: the table may lack it, and so may events that were recorded before the table had it. Once the table has it, the installation has to include it: see `TriggerSpec::optional_columns` |
/// | `alias` | events that were recorded before the column was renamed may have it under this name |
/// | `skip`, `skip_deserializing` | none |
/// | `flatten` | none: name the columns of the inner type with `TriggerSpec::columns`, or use `every_column` |
///
/// A field of type `Option` is also required: `None` means null, never a missing column. Add `#[serde(default)]` if the column
/// may be missing.
///
/// ```
/// use pgherald::Table;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, Table)]
/// #[table(name = "users", key = "id")]
/// struct User {
///     id: i64,
///     #[serde(rename = "mail")]
///     email: String,
///     #[serde(default)]
///     tags: Vec<String>,
///     #[serde(skip)]
///     is_greeted: bool,
/// }
///
/// assert_eq!(User::COLUMNS, ["mail", "tags"]);
/// ```
///
/// For generic types, enums and structs without named fields, implement the trait by hand.
#[proc_macro_derive(Table, attributes(table))]
pub fn table(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    table::expand(&input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// Caches the values that an async function returns, until the rows that they depend on change.
///
/// ```
/// use pgherald::{Table, cached};
///
/// #[derive(Clone, Table)]
/// #[table(name = "users", key = "id")]
/// struct User {
///     id: i64,
///     email: String,
/// }
///
/// #[cached(row_of = User)] // an event for row 7 invalidates key 7
/// async fn load_user(id: i64) -> Result<User, String> {
///     // … ask the database …
///     Ok(User { id, email: "ada@example.org".into() })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let user = load_user(7).await; // called as before
/// load_user::invalidate(&7); // its cache has the function's name
/// # assert_eq!(user.unwrap().email, "ada@example.org");
/// # }
/// ```
///
/// The function keeps its signature. The cache is a static. It starts when it is passed to a herald with
/// `Herald::start_cached(load_user::cache())`. Until then, and whenever the herald is not live, each call runs
/// the body. Calls that miss the same key at the same time wait for one load. If the body calls the function with the
/// key that it is loading, that inner call runs the body directly.
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `row_of = User` | The key is the row key of `User`: an event for a row invalidates its key. |
/// | `row_by(User, \|key: &K\| …)` | Maps the cache's key to the key of the row that the value depends on. |
/// | `keys_by(Order, \|change: &Changed<Order>\| …)` | Maps a change to the keys that it affects, as `Affected<K>`. A closure or a path. |
/// | `table_of = Product` | Any change of the table invalidates everything. |
/// | `key = id`, `key = (id, lang)` | The arguments that form the key. Default: all arguments that are not left out. |
/// | `key = <expression>, key_type = K` | Makes the key from the arguments before the body takes them. |
/// | `ignore(pool)`, `ignore(self)` | Arguments on which the value does not depend. They are left out of the key. |
/// | `strategy = Greedy::new()` | When to invalidate. |
/// | `capacity = 10_000` | The maximum number of values. |
/// | `ttl = Duration::from_secs(60)` | The maximum time for which a value is kept. |
/// | `ttl_jitter = 0.1` | The share of `ttl` by which it is shortened at random. |
/// | `when_not_live = WhenNotLive::Bypass` | What the cache does while the herald is not live. |
/// | `refresh = Refresh::new(…)` | Serves an invalidated value for a limited time while it is reloaded. |
/// | `observer = Arc::new(…)` | A `CacheObserver` that receives the cache's events. |
/// | `load_limit = LIMIT` | A `LoadLimit` that is shared with other caches. |
/// | `load_timeout = Duration::from_secs(5)` | The maximum duration of a load. At the limit, callers that wait for it run the body themselves. |
/// | `errors_for = Duration::from_secs(5)` | How long an error is returned to further callers instead of running the body again. By default, errors are not cached. |
/// | `name = "users"` | The cache's name in logs and metrics. Default: the path of the function, as in `shop::users::load_user`. |
/// | `associated` | Required if the function is in an `impl` block, without `self` and without mentioning `Self`. (If it is missing, the compiler reports: "enum is not supported in `trait`s or `impl`s".) |
/// | `crate = path` | The path of `pgherald`, if it was renamed or re-exported. |
///
/// At least one of the first four is required; they can be repeated and combined. The settings from `strategy` to
/// `errors_for` are expressions in the scope of the function. They are evaluated when the cache is
/// passed to a herald, in a function that returns `pgherald::Result`. So a fallible expression may end in `?`, as in
/// `strategy = Windowed::events(3)?`; `Herald::start_cached` then returns its error.
///
/// # The key
///
/// The cache looks a value up by its key alone, so the key must contain every argument that the value depends on. The key
/// contains a clone of each argument. Of references, `&str` becomes `String`, `&Path` becomes `PathBuf`, `&[T]` becomes
/// `Vec<T>`, and any other `&T` becomes `T`. A single argument is the key itself; several arguments form a tuple. With
/// `key_type`, the expression is used unchanged, and an argument that it mentions counts as part of the key.
///
/// An argument that is not in the key is refused, unless
///
/// - it is named in `ignore(…)`,
/// - it is `_`, which the body cannot use, or
/// - it is a handle, by itself, behind a reference or in an `Arc`: the `Client` of tokio_postgres, or a type that is named `Pool`,
///   `PgPool` or `DatabaseConnection` and shares state, as pools do. (The compiler checks that a pool is not `RefUnwindSafe`. A
///   struct with the columns of a row is `RefUnwindSafe`, so it is refused.)
///
/// A `Client` of another library or of your own has to be named in `ignore(…)`, because the name could also mean a customer. Do
/// not name a struct of your own `Pool` if it contains a pool and also data that the value depends on, such as a tenant: it
/// would be taken for a handle.
///
/// ```
/// use pgherald::{Table, cached};
///
/// struct Connection;
///
/// # #[derive(Table)]
/// # #[table(name = "products", key = "id")]
/// # struct Product { id: i64 }
/// # #[derive(Table)]
/// # #[table(name = "translations", key = ["product", "lang"])]
/// # struct Translation { product: i64, lang: String }
/// #[cached(
///     row_by(Product, |key: &(i64, String)| key.0),
///     row_of = Translation,
///     ignore(connection),
///     capacity = 1_000,
/// )]
/// async fn title(connection: &Connection, product: i64, lang: &str) -> Option<String> {
///     // …
///     # let _ = connection;
///     Some(format!("{product} in {lang}"))
/// }
/// # let _ = title::invalidate(&(7, "de".into()));
/// ```
///
/// # What is cached
///
/// | returned | cached | each caller receives |
/// |---|---|---|
/// | `Result<T, E>` | `T`; errors only with `errors_for` | a clone. `E` must be `Clone`, because all waiting callers receive the error. |
/// | `Result<Arc<T>, E>` | `T` | the same `Arc`; `T` need not be `Clone`. |
/// | `Arc<T>` | `T` | the same `Arc` |
/// | `Option<T>` and any other type | the value itself; `None` is cached too | a clone |
///
/// The macro recognises `Result` and `Arc` by name, including the `Result<T>` of another crate. It refuses a result by another
/// name, such as `type DbResult<T> = Result<T, E>`, and a result within an `Option`, an `Arc`, a `Box` or a `Vec`, because the
/// cache would keep its errors. Values, keys and errors must be `Send + Sync + 'static`; the function's future need not be `Send`.
///
/// With `errors_for`, an error is kept for this time from the end of its load. An event that invalidates the key drops the
/// error earlier. `CacheStats::errors_served` counts the calls that received a kept error.
///
/// ```
/// use std::time::Duration;
///
/// use pgherald::{Table, cached};
///
/// # #[derive(Clone, Table)]
/// # #[table(name = "users", key = "id")]
/// # struct User { id: i64 }
/// #[derive(Clone, Debug)]
/// struct NotFound(i64);
///
/// #[cached(row_of = User, errors_for = Duration::from_secs(5), load_timeout = Duration::from_secs(2))]
/// async fn load_user(id: i64) -> Result<User, NotFound> {
///     // … ask the database; an INSERT of the row drops the error …
///     Err(NotFound(id))
/// }
/// # let _ = load_user::stats().errors_served;
/// ```
///
/// Errors such as `Box<dyn Error>` are not `Clone`. Use an enum that is `Clone` and has its causes in an `Arc`:
///
/// ```
/// use std::sync::Arc;
///
/// #[derive(Clone, Debug)]
/// enum Failure {
///     Io(Arc<std::io::Error>),
/// }
///
/// impl From<std::io::Error> for Failure {
///     fn from(cause: std::io::Error) -> Self {
///         Self::Io(Arc::new(cause))
///     }
/// }
/// # fn read() -> Result<(), Failure> { Err(std::io::Error::other("x"))? }
/// # assert!(matches!(read(), Err(Failure::Io(cause)) if cause.to_string() == "x"));
/// ```
///
/// # What is generated
///
/// For a free function, the macro generates a type of the same name and visibility, with
///
/// - `load_user::cache() -> &'static CachedFn<K, V>`
/// - `load_user::invalidate(&K) -> bool`, which returns whether there was a value
/// - `load_user::invalidate_all()`
/// - `load_user::stats() -> CacheStats`
///
/// (An import of the function also imports the type.) For a method, the macro generates an associated function, such as
/// `find_cache()` for the method `find`:
///
/// ```
/// use pgherald::{Table, cached};
///
/// # #[derive(Clone, Table)]
/// # #[table(name = "users", key = "id")]
/// # struct User { id: i64 }
/// struct Users;
///
/// impl Users {
///     #[cached(row_of = User, ignore(self))]
///     async fn find(&self, id: i64) -> Option<User> {
///         // …
///         # Some(User { id })
///     }
/// }
///
/// Users::find_cache().invalidate_all();
/// ```
///
/// Everything else is done through the cache's handle, `load_user::cache().handle()`. It is available once the cache was passed
/// to a herald. For example, the handle returns write tokens, with which a caller reads its own writes:
///
/// ```
/// use pgherald::{Table, cached};
///
/// # #[derive(Clone, Table)]
/// # #[table(name = "users", key = "id")]
/// # struct User { id: i64 }
/// #[cached(row_of = User)]
/// async fn load_user(id: i64) -> Option<User> {
///     // …
///     # Some(User { id })
/// }
///
/// if let Some(cache) = load_user::cache().handle() {
///     let token = cache.write_token();
///     // … announce it in the transaction, and wait for it after the commit
///     # drop(token);
/// }
/// ```
///
/// In documentation, `` [`load_user`] `` is ambiguous, because both a function and a type have this name. Write
/// `` [`load_user()`] `` for the function.
///
/// # What the body must do
///
/// - **Read committed data, on the primary, in a snapshot that is taken after the call.** A body that reads from
///   a replica, or in a transaction that the caller began earlier, puts old values into the cache. A body that reads
///   in a transaction that has written puts in values that may be rolled back. No event corrects such values.
/// - **Read only tables that are named** in `row_of`, `row_by`, `keys_by` or `table_of`. Each of them must be watched: it has
///   triggers, and the herald watches it. The cache does not notice changes of any other table, including tables that the body
///   reads through a view or a join.
/// - **Have no side effects.** On a hit the body does not run, so it does not log, count or write anything. For this reason,
///   arguments with `&mut` in their types, and `&mut self`, are refused.
/// - **Return the same value to every caller with the same key.** If the value depends on the caller, for example on a tenant
///   or a user, put that into the key, even if the body reads it from a static, a task-local, or an ignored argument.
///
/// # Limits
///
/// - There is one static per function. A function that takes a `&Client` outside of the key has one cache for
///   all clients, even if they are connected to different databases. A default method of a trait that calls a cached function
///   shares one cache among all types that implement the trait.
/// - A cache works for one herald at a time. While the first herald runs, `Herald::start_cached` of a second one returns an error.
///   Tests that run at the same time begin with `let _scope = CacheScope::enter();`, which gives each of them its own caches.
/// - All values of `self` share one cache. If the value depends on `self`, put what it depends on into the key; otherwise
///   ignore `self`. Methods of generic types are refused, unless the parameters are lifetimes.
/// - Signatures of cached methods name types explicitly: `Result<User, E>`, not `Result<Self, E>`. Functions in a trait's
///   `impl` cannot be cached, because the cache's function cannot be added there (the compiler reports that `find_cache` is not a
///   member of the trait). Call a cached function from them.
/// - Generic functions cannot be cached. Cache a non-generic function that calls the generic one, or use a `CacheHandle`.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, function: TokenStream) -> TokenStream {
    cached::expand(options.into(), &function.into()).into()
}
