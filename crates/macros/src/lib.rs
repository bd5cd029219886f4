//! The macros of pgherald: [`derive(Table)`](derive@Table) and [`#[cached]`](macro@cached).
//!
//! Use them through the `pgherald` crate, which re-exports both.

mod cached;
mod errors;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Ties a struct to a table: implements the trait `Table`.
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
/// | `schema = "app"` | The schema, if `name` does not tell; `public` otherwise. |
/// | `key = "id"`, `key = ["tenant", "id"]` | The columns of the row key, in order. Required. |
/// | `crate = path` | Where `pgherald` is, if it was renamed or re-exported. |
///
/// Names are written as they stand in the catalog: case counts. One that contains a dot or a quote is written
/// in quotes, with its quotes doubled: `name = "\"My Schema\".\"a.b\""`.
///
/// A key column is matched with the field of its name; `#[serde(rename = "…")]` and `rename_all` count, because rows are read
/// with serde.
///
/// # Columns
///
/// If the struct implements `serde::Deserialize`, its other fields are columns that events have to carry:
/// `TriggerSpec::of` and `watch` ask for them, and `Inserted::row` and the like return the struct. The attributes of serde count:
///
/// | attribute | column |
/// |---|---|
/// | `rename`, `rename_all` | has the name that serde reads |
/// | `default` | optional: the table may lack it, and so may events that were recorded before the table had it. Once the table has it, the installation has to include it: see `TriggerSpec::optional_columns` |
/// | `alias` | events may have it under this name: those that were recorded before it was renamed |
/// | `skip`, `skip_deserializing` | none |
/// | `flatten` | none: name the columns of the inner type with `TriggerSpec::columns`, or use `every_column` |
///
/// A field of type `Option` is required like any other: `None` means null, never a missing column. Add `#[serde(default)]` if the
/// column may be missing.
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

/// Caches what an async function returns, until the rows it depends on change.
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
/// The function keeps its signature. The cache is a static that begins to work when it is given to a herald, with
/// `Herald::cached(load_user::cache())`. Until then, and whenever the herald is not live, each call runs
/// the body. Calls that miss the same key at the same time wait for one load. If the body asks for the very
/// key that it is loading, that inner call runs the body directly.
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `row_of = User` | The key is the row key of `User`: an event for a row invalidates its key. |
/// | `row_by(User, \|key: &K\| …)` | From the cache's key to the key of the row that the value depends on. |
/// | `keys_by(Order, \|change: &Changed<Order>\| …)` | From a change to the keys it affects, as `Affected<K>`. A closure or a path. |
/// | `table_of = Product` | Any change of the table invalidates everything. |
/// | `key = id`, `key = (id, lang)` | The arguments that form the key. Without it: all that are not left out. |
/// | `key = <expression>, key_type = K` | Makes the key from the arguments before the body takes them. |
/// | `ignore(pool)`, `ignore(self)` | Arguments on which the value does not depend. They are left out of the key. |
/// | `strategy = Greedy::new()` | When to invalidate. |
/// | `capacity = 10_000` | How many values are kept. |
/// | `ttl = Duration::from_secs(60)` | How long a value is kept at most. |
/// | `ttl_jitter = 0.1` | The share of `ttl` by which it is shortened at random. |
/// | `when_not_live = WhenNotLive::Bypass` | What the cache does while the herald is not live. |
/// | `refresh = Refresh::new(…)` | Serves an invalidated value a little longer, while it is loaded anew. |
/// | `observer = Arc::new(…)` | A `CacheObserver` that sees what the cache does. |
/// | `load_limit = LIMIT` | A `LoadLimit` that is shared with other caches. |
/// | `load_timeout = Duration::from_secs(5)` | How long a load may take. At the limit, callers that wait for it run the body themselves. |
/// | `errors_for = Duration::from_secs(5)` | How long an error is returned to further callers instead of running the body again. Without it: errors are not cached. |
/// | `name = "users"` | The cache's name in logs and counters. Without it: the path of the function, as in `shop::users::load_user`. |
/// | `associated` | The function stands in an `impl` block, without `self` and without mentioning `Self`. (Where it is missing, the compiler says: "enum is not supported in `trait`s or `impl`s".) |
/// | `crate = path` | Where `pgherald` is, if it was renamed or re-exported. |
///
/// At least one of the first four is needed; they can be repeated and combined. The settings from `strategy` to
/// `errors_for` are expressions in the scope of the function. They are evaluated when the cache is
/// given to a herald, in a function that returns `pgherald::Result`: what is fallible ends in `?`, as in
/// `strategy = Windowed::events(3)?`, and its error is that of `Herald::cached`.
///
/// # The key
///
/// A value is found by its key alone, so every argument that matters is in it. An argument stands in the key as it is,
/// cloned; of references, `&str` becomes `String`, `&Path` becomes `PathBuf`, `&[T]` becomes `Vec<T>`, and any other `&T`
/// becomes `T`. One argument is the key itself, several are a tuple. With `key_type` the expression is used as it stands, and
/// an argument that it mentions counts as part of the key.
///
/// An argument that is not in the key is refused, unless
///
/// - it is named in `ignore(…)`,
/// - it is `_`, which the body cannot use, or
/// - it is a handle, by itself, behind a reference or in an `Arc`: the `Client` of tokio_postgres, or a type that is named `Pool`,
///   `PgPool` or `DatabaseConnection` and shares state, as pools do. (The compiler checks that a pool is not `RefUnwindSafe`. A
///   struct with the columns of a row is, and is refused.)
///
/// A `Client` of another library or of your own has to be named in `ignore(…)`: by its name alone, it may be a customer. For the
/// same reason a struct of your own that is named `Pool`, has a pool in it and also something that matters, such as a tenant,
/// should have another name.
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
/// | returned | cached | each caller is given |
/// |---|---|---|
/// | `Result<T, E>` | `T`; errors are not, unless `errors_for` says so | a clone. `E: Clone`, for it reaches all who waited. |
/// | `Result<Arc<T>, E>` | `T` | the same `Arc`; `T` need not be `Clone`. |
/// | `Arc<T>` | `T` | the same `Arc` |
/// | `Option<T>` and all else | the value itself: `None` is remembered too | a clone |
///
/// `Result` and `Arc` are recognised by name, `Result<T>` of another crate included. A result by another name, such as
/// `type DbResult<T> = Result<T, E>`, and one within an `Option`, an `Arc`, a `Box` or a `Vec`, is refused: its errors would be
/// cached. Values, keys and errors are
/// `Send + Sync + 'static`; the function's future need not be `Send`.
///
/// With `errors_for`, an error is kept for this time from the end of its load, and then gone. An event that invalidates the key drops it
/// earlier. `CacheStats::errors_served` counts the calls that it saved.
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
/// Of errors, `Box<dyn Error>` and its like are not `Clone`. Use an enum that is, with the causes in an `Arc`:
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
/// Beside a free function, a type of the same name and visibility, with
///
/// - `load_user::cache() -> &'static CachedFn<K, V>`
/// - `load_user::invalidate(&K) -> bool`: whether there was a value
/// - `load_user::invalidate_all()`
/// - `load_user::stats() -> CacheStats`
///
/// (An import of the function imports it too.) Beside a method, an associated function `load_user_cache()`:
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
/// All else is done through the cache's handle, which is there once a herald has the cache:
/// `load_user::cache().handle()`. Write tokens come from it, for one who wants to read what he has just written:
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
/// In documentation, `` [`load_user`] `` is ambiguous, for there are a function and a type: write
/// `` [`load_user()`] `` for the function.
///
/// # What the body must do
///
/// - **Read what is committed, on the primary, in a snapshot that is taken after the call.** A body that reads
///   a replica, or in a transaction that the caller began earlier, brings old values into the cache; one that reads
///   in a transaction that has written brings values that may be rolled back. No event will correct them.
/// - **Read only tables that are named** in `row_of`, `row_by`, `keys_by` or `table_of`, each of them watched: with
///   triggers, and announced to the herald. A change of any other table goes unnoticed, also of one that a view or
///   a join brings in.
/// - **Do nothing but read.** On a hit the body does not run, and what it would do beside returning a value does not
///   happen: logging, counting, writing. Hence arguments with `&mut` in their types, and `&mut self`, are refused.
/// - **Give the same to everybody.** A value is found by its key and by nothing else: what depends on who asks has that in the
///   key, also if it comes from a static, a task-local, or an argument that is ignored.
///
/// # Limits
///
/// - There is one static per function. A function that takes a `&Client` outside of the key has one cache for
///   all clients, whichever database they speak to; a default method of a trait, which calls a cached function, has
///   one for all types that implement the trait.
/// - It works for one herald at a time: a second one is refused with an error while the first runs. Tests that run at the
///   same time begin with `let _scope = CacheScope::enter();`, which gives each of them caches of its own.
/// - There is one cache for all values of `self`: what tells them apart belongs into the key, and without that `self` is to
///   be ignored. Methods of generic types are refused, unless the parameters are lifetimes.
/// - Beside methods, types are written by name: `Result<User, E>`, not `Result<Self, E>`. Functions of a trait's
///   `impl` have no room for the cache (the compiler says that `find_cache` is not a member of the trait): let them call a
///   cached function.
/// - Generic functions have no one cache: cache a non-generic function that calls it, or use a `CacheHandle`.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, function: TokenStream) -> TokenStream {
    cached::expand(options.into(), &function.into()).into()
}
