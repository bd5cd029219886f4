use pgherald::cached;

#[cached]
async fn nothing(id: i64) -> i64 {
    id
}

#[cached(capacity = 7)]
async fn only_settings(id: i64) -> i64 {
    id
}

fn main() {}
