//! The proxy itself, between a client and a real PostgreSQL: what passes, what is cut, and what a
//! client can and cannot know of its COMMIT.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::Cluster;
use harness::proxy::{CommitCut, Cut, Passage, Proxy, Which};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start().expect("PostgreSQL starts"))
}

fn proxy() -> Result<Proxy> {
    Proxy::start(([127, 0, 0, 1], cluster().port()).into(), 1)
}

async fn connect(proxy: &Proxy) -> Result<Client> {
    let url = proxy.url(&cluster().url("postgres"))?;
    let (client, connection) = timeout(PATIENCE, tokio_postgres::connect(&url, NoTls)).await??;
    tokio::spawn(connection);
    Ok(client)
}

/// Inserts a number in a transaction of its own.
async fn insert(client: &mut Client, table: &str, number: i32) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction.execute(&format!("INSERT INTO {table} VALUES ({number})"), &[]).await?;
    timeout(PATIENCE, transaction.commit()).await??;
    Ok(())
}

fn numbers(table: &str) -> Result<String> {
    cluster().sql("postgres", &format!("SELECT string_agg(n::text, ',' ORDER BY n) FROM {table}"))
}

/// Waits until `condition` holds.
fn eventually(condition: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[tokio::test]
async fn what_passes_is_unchanged_also_for_psql() -> Result<()> {
    let proxy = proxy()?;
    let url = proxy.url(&cluster().url("postgres"))?;
    // psql asks for encryption first.
    let sum = "SELECT sum(length(repeat('x', n))) FROM generate_series(1, 1000) AS n";
    assert_eq!(cluster().sql_at(&url, sum)?, "500500");
    let client = connect(&proxy).await?;
    let text = "x".repeat(3_000_000);
    let back: String = client.query_one("SELECT $1::text", &[&text]).await?.get(0);
    assert!(back == text, "{} octets came back", back.len());
    assert_eq!((proxy.counts().connections, proxy.counts().commits), (2, 0));
    Ok(())
}

#[tokio::test]
async fn a_commit_whose_answer_is_swallowed_has_happened() -> Result<()> {
    cluster().sql("postgres", "CREATE TABLE unanswered (n int)")?;
    let proxy = proxy()?;
    let mut client = connect(&proxy).await?;
    proxy.cut_commits(Some((CommitCut::Unanswered, Which::Number(2))));
    insert(&mut client, "unanswered", 1).await?;
    insert(&mut client, "unanswered", 2).await.expect_err("its answer was swallowed");
    assert_eq!(numbers("unanswered")?, "1,2");
    insert(&mut client, "unanswered", 3).await.expect_err("the connection is gone");
    insert(&mut connect(&proxy).await?, "unanswered", 4).await?;
    assert_eq!(numbers("unanswered")?, "1,2,4");
    let counts = proxy.counts();
    assert_eq!((counts.commits, counts.unanswered, counts.unsent), (3, 1, 0));
    Ok(())
}

#[tokio::test]
async fn a_commit_that_never_comes_has_not_happened() -> Result<()> {
    cluster().sql("postgres", "CREATE TABLE unsent (n int)")?;
    let proxy = proxy()?;
    proxy.cut_commits(Some((CommitCut::Unsent, Which::Number(1))));
    insert(&mut connect(&proxy).await?, "unsent", 1).await.expect_err("it was cut");
    insert(&mut connect(&proxy).await?, "unsent", 2).await?;
    assert_eq!(numbers("unsent")?, "2");
    assert_eq!((proxy.counts().commits, proxy.counts().unsent), (2, 1));
    Ok(())
}

#[tokio::test]
async fn a_commit_that_races_with_its_cut_ends_one_way_or_the_other() -> Result<()> {
    cluster().sql("postgres", "CREATE TABLE racing (n int)")?;
    let proxy = proxy()?;
    proxy.cut_commits(Some((CommitCut::Racing, Which::Chance(1.0))));
    for number in 0..20 {
        insert(&mut connect(&proxy).await?, "racing", number).await.expect_err("it was cut");
    }
    assert_eq!(proxy.counts().racing, 20);
    // None is left undecided, and the COMMIT did leave before the cut.
    let pending = "SELECT count(*) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND query LIKE 'INSERT INTO racing%'";
    eventually(|| Ok(cluster().sql("postgres", pending)? == "0"))?;
    eventually(|| Ok(cluster().sql("postgres", "SELECT count(*) FROM racing")? != "0"))?;
    Ok(())
}

#[tokio::test]
async fn commits_are_drawn_from_the_seed() -> Result<()> {
    cluster().sql("postgres", "CREATE TABLE drawn (n int)")?;
    let mut drawn = Vec::new();
    for seed in [1, 1, 2] {
        let proxy = Proxy::start(([127, 0, 0, 1], cluster().port()).into(), seed)?;
        proxy.cut_commits(Some((CommitCut::Unsent, Which::Chance(0.5))));
        let mut outcomes = Vec::new();
        for number in 0..24 {
            let outcome = insert(&mut connect(&proxy).await?, "drawn", number).await;
            outcomes.push(outcome.is_ok());
        }
        drawn.push(outcomes);
    }
    assert_eq!(drawn[0], drawn[1]);
    assert_ne!(drawn[0], drawn[2]);
    Ok(())
}

#[tokio::test]
async fn connections_are_cut_in_both_ways() -> Result<()> {
    let proxy = proxy()?;
    for how in [Cut::Reset, Cut::Close] {
        let url = proxy.url(&cluster().url("postgres"))?;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let id: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxy.cut(how);
        };
        let (answer, ()) =
            tokio::join!(timeout(PATIENCE, client.query("SELECT pg_sleep(1)", &[])), cut);
        answer?.expect_err("the connection was cut");
        let ended = format!("{:?}", driver.await?);
        assert_eq!(ended.contains("ConnectionReset"), how == Cut::Reset, "{ended}");
        let backend = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {id}");
        eventually(|| Ok(cluster().sql("postgres", &backend)? == "0"))?;
    }
    assert_eq!(proxy.counts().cut, 2);
    // What is new gets on.
    connect(&proxy).await?.query_one("SELECT 1", &[]).await?;
    Ok(())
}

#[tokio::test]
async fn a_stall_holds_everything_up_and_loses_nothing() -> Result<()> {
    let proxy = proxy()?;
    let client = connect(&proxy).await?;
    proxy.set_passage(Passage::Stalled)?;
    let start = Instant::now();
    let open = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        proxy.set_passage(Passage::Open)
    };
    let (answer, fresh, opened) =
        tokio::join!(client.query_one("SELECT 42", &[]), connect(&proxy), open);
    opened?;
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(answer?.get::<_, i32>(0), 42);
    assert_eq!(fresh?.query_one("SELECT 43", &[]).await?.get::<_, i32>(0), 43);
    Ok(())
}

#[tokio::test]
async fn a_delay_is_no_narrower_pipe() -> Result<()> {
    let proxy = proxy()?;
    let client = connect(&proxy).await?;
    let by = Duration::from_millis(100);
    proxy.set_passage(Passage::Delayed { by, jitter: Duration::from_millis(20) })?;
    let start = Instant::now();
    // 8 MB are more than a hundred reads: one delay each would take ten seconds.
    let text: String = client.query_one("SELECT repeat('abcdefgh', 1000000)", &[]).await?.get(0);
    assert!(start.elapsed() >= 2 * by, "{:?}", start.elapsed());
    assert!(text.len() == 8_000_000 && text.starts_with("abcdefgh") && text.ends_with("gh"));
    assert!(start.elapsed() < PATIENCE);
    Ok(())
}

#[tokio::test]
async fn new_connections_are_refused_while_old_ones_go_on() -> Result<()> {
    let proxy = proxy()?;
    let client = connect(&proxy).await?;
    proxy.set_passage(Passage::Refused)?;
    let error = connect(&proxy).await.err().context("nothing listens")?;
    assert!(format!("{error:?}").contains("refused"), "{error:?}");
    client.query_one("SELECT 1", &[]).await?;
    proxy.set_passage(Passage::Open)?;
    connect(&proxy).await?.query_one("SELECT 1", &[]).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_away_shows() -> Result<()> {
    let away = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let proxy = Proxy::start(away, 1)?;
    connect(&proxy).await.err().context("there is no server")?;
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);
