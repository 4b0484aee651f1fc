use mcpbus_actors::Message;

#[derive(Message)]
struct Payment {
    #[message(key)]
    from: u64,
    #[message(key)]
    to: u64,
}

fn main() {}
