use std::rc::Rc;

use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

struct Large;

#[cached(row_of = User)]
async fn not_clone(id: i64) -> Large {
    Large
}

#[cached(row_of = User)]
async fn of_one_thread(id: i64) -> Rc<i64> {
    Rc::new(id)
}

#[cached(row_of = User)]
async fn borrowed(id: &'static i64) -> &i64 {
    id
}

#[cached(row_of = User)]
async fn hidden(id: i64) -> impl Clone {
    id
}

#[cached(row_of = User)]
async fn nothing(id: i64) {
    let _ = id;
}

fn main() {}
