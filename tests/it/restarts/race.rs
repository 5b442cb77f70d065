//! Three writers and one name: of those who overwrite the same generation, one succeeds.

use bytes::Bytes;
use reqwest::Method;

use super::{Cloud, Gone, Random};

const PATH: &str = "/storage/v1/b/plain/o/race";

#[derive(Default)]
pub struct Race {
    /// The generation and the bytes that are known to be live.
    live: Option<(String, Bytes)>,
    /// What is being written; of it, what was acknowledged or refused.
    running: Vec<Bytes>,
    won: u64,
}

impl Race {
    pub fn done(&self) -> String {
        format!("race: {} won", self.won)
    }

    pub async fn step(&mut self, cloud: &Cloud, random: &mut Random) -> Result<(), Gone> {
        let generation = self.live.as_ref().map_or("0", |(generation, _)| generation);
        let path = format!(
            "/upload/storage/v1/b/plain/o?uploadType=media&name=race&ifGenerationMatch={generation}"
        );
        self.running = (0..3)
            .map(|_| {
                let length = random.below(100_000);
                random.bytes(length)
            })
            .collect();
        let send = |n: usize| cloud.send(Method::POST, &path, &[], self.running[n].clone());
        let (one, two, three) = tokio::join!(send(0), send(1), send(2));
        let mut broken = false;
        let mut winner = None;
        for (reply, bytes) in [one, two, three].into_iter().zip(&self.running) {
            match reply {
                Err(Gone) => broken = true,
                Ok(reply) if reply.code == 412 => {}
                Ok(reply) => {
                    let resource = reply.ok();
                    let generation = resource["generation"].as_str().unwrap().to_owned();
                    let before = winner.replace((generation, bytes.clone()));
                    assert!(
                        before.is_none(),
                        "two overwrote {generation:?}",
                        generation = before
                    );
                }
            }
        }
        assert!(broken || winner.is_some(), "nobody won");
        if let Some(winner) = winner {
            self.live = Some(winner);
            self.running.clear();
            self.won += 1;
        }
        if broken { Err(Gone) } else { Ok(()) }
    }

    /// The acknowledged winner is live; without one, what was, or one of those who ran.
    pub async fn check(&self, cloud: &Cloud) {
        let resource = cloud.get(PATH).await.unwrap();
        let media = cloud.get(&format!("{PATH}?alt=media")).await.unwrap();
        let known = self.live.as_ref().filter(|(generation, bytes)| {
            resource.value()["generation"] == *generation && media.body == *bytes
        });
        let nothing = resource.code == 404 && self.live.is_none();
        let unknown = resource.code == 200 && self.running.contains(&media.body);
        assert!(
            known.is_some() || nothing || unknown,
            "{}",
            resource.value()
        );
    }

    pub async fn settle(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        let resource = cloud.get(PATH).await?;
        let media = cloud.get(&format!("{PATH}?alt=media")).await?;
        if resource.code == 200 {
            let generation = resource.ok()["generation"].as_str().unwrap().to_owned();
            self.live = Some((generation, media.body));
        }
        self.running.clear();
        Ok(())
    }
}
