//! A bounded channel of five: the sixth message waits, or says that it is full. Nothing is dropped unless asked for.

use mcpbus::actors::channel::{Capacity, Overflow, channel, inbox};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, mut receiver) = channel::<u64>(Capacity::messages(5));
    for number in 1..=5 {
        sender.try_send(number)?;
    }
    let full = sender.try_send(6);
    println!(
        "the sixth: {}",
        full.as_ref()
            .map_or_else(ToString::to_string, |()| "taken".into())
    );
    assert_eq!(
        full.map_err(|error| error.into_message()),
        Err(6),
        "the message comes back"
    );

    // A producer that is faster than its consumer goes at the consumer's pace.
    let producer = tokio::spawn(async move {
        for number in 6..=20 {
            sender.send(number).await?;
        }
        println!("queue at the end: {:?}", sender.stats());
        Ok::<_, mcpbus::actors::channel::SendError<u64>>(())
    });
    let mut sum = 0;
    while let Some(number) = receiver.recv().await {
        sum += number;
    }
    producer.await??;
    assert_eq!(sum, (1..=20).sum::<u64>());

    // An edge may drop the oldest instead; each drop is counted with its reason.
    let mut newest = inbox::<u64>();
    let (_, sender) = newest.add_edge(Capacity::messages(3), Overflow::DropOldest);
    for number in 1..=10 {
        sender.send(number).await?;
    }
    println!("drop oldest: {:?}", sender.stats());
    drop(sender);
    let mut kept = Vec::new();
    while let Some(number) = newest.recv().await {
        kept.push(number);
    }
    assert_eq!(kept, [8, 9, 10]);
    Ok(())
}
