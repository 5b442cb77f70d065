//! Tokens: from a metadata server with its moods, from another cloud's identity, and their end.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::tokens::{self, Habits};
use super::{BUCKET, Google, Wanted, arguments};
use crate::emulate;
use crate::harness::ended;

/// A Google Cloud with one table, whose metadata server has these habits.
fn with_a_table<T: Fn()>(test: T, habits: Habits) -> Option<Google> {
    let wanted = Wanted {
        habits,
        ..Wanted::GOOD
    };
    let google = Google::enter(test, wanted)?;
    let upload = format!("upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=t.csv");
    let url = format!("{}/{upload}", google.emulator);
    emulate::post_text(&url, "a,b\n1,2\n".into());
    Some(google)
}

/// Such a metadata server gives the token that reading the table needs.
fn a_table_is_read_though<T: Fn()>(test: T, habits: Habits) {
    if let Some(google) = with_a_table(test, habits) {
        let table = format!("gs://{BUCKET}/t.csv");
        google.serin(&["profile", &table]).expect(0);
        google.assert_strict(&[]);
    }
}

#[test]
fn a_metadata_server_that_is_not_up_yet_is_waited_for() {
    let habits = Habits {
        refuses: Duration::from_secs(2),
        ..Habits::GOOD
    };
    a_table_is_read_though(a_metadata_server_that_is_not_up_yet_is_waited_for, habits);
}

#[test]
fn a_metadata_server_that_is_busy_is_asked_again() {
    let habits = Habits {
        busy: 3,
        ..Habits::GOOD
    };
    a_table_is_read_though(a_metadata_server_that_is_busy_is_asked_again, habits);
}

#[test]
fn a_metadata_server_may_take_its_time() {
    let habits = Habits {
        slow: (1, Duration::from_millis(1500)),
        ..Habits::GOOD
    };
    a_table_is_read_though(a_metadata_server_may_take_its_time, habits);
}

#[test]
fn who_serin_is_is_told() {
    if let Some(google) = Google::enter(who_serin_is_is_told, Wanted::GOOD) {
        google.serin(&["auth"]).expect(0).says(tokens::ACCOUNT);
        google.assert_strict(&[]);
    }
}

#[test]
fn a_laptop_without_credentials_is_told_so() {
    let habits = Habits {
        refuses: Duration::MAX,
        ..Habits::GOOD
    };
    let Some(google) = with_a_table(a_laptop_without_credentials_is_told_so, habits) else {
        return;
    };
    let mut command = google.command(&["profile", &format!("gs://{BUCKET}/t.csv")]);
    command.env_remove("BUILDER_OUTPUT");
    ended(command.output().unwrap())
        .expect(2)
        .says("no Google Cloud credentials were found");
    assert!(google.asked(|_| true).is_empty());
}

#[test]
fn a_token_that_ends_within_a_step_is_replaced() {
    let wanted = Wanted {
        habits: Habits {
            taken: Duration::from_millis(300),
            ..Habits::GOOD
        },
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(a_token_that_ends_within_a_step_is_replaced, wanted) else {
        return;
    };
    google.build("1");
    google.assert_made(1);
    google.assert_strict(&["token"]);
    // Every step that asks the cloud needs one, and longer ones more.
    assert!(google.front.tokens.count() > 4);
}

#[test]
fn a_token_is_replaced_before_it_ends() {
    let wanted = Wanted {
        habits: Habits {
            // So short a one is replaced in the middle of its time.
            expires_in: Duration::from_secs(1),
            taken: Duration::from_secs(60),
            ..Habits::GOOD
        },
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(a_token_is_replaced_before_it_ends, wanted) else {
        return;
    };
    google.build("1");
    google.assert_strict(&[]);
    assert!(google.front.tokens.count() > 4);
}

#[test]
fn an_identity_of_another_cloud_becomes_the_account_that_it_may_be() {
    let test = an_identity_of_another_cloud_becomes_the_account_that_it_may_be;
    let Some(google) = with_a_table(test, Habits::GOOD) else {
        return;
    };
    let folder = google.project.folder.path().join("home");
    let pool = "projects/1/locations/global/workloadIdentityPools/pool/providers/other-cloud";
    let impersonation = format!(
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken",
        tokens::ACCOUNT
    );
    let file = json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{pool}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": impersonation,
        "credential_source": {"file": folder.join("identity")},
    });
    fs::write(folder.join("identity"), tokens::IDENTITY).unwrap();
    let credentials = folder.join("federation.json");
    fs::write(&credentials, file.to_string()).unwrap();
    google.step("lint", &[]).expect(0);
    let mut train = google.command(&arguments("train"));
    train.env("GOOGLE_APPLICATION_CREDENTIALS", &credentials);
    ended(train.output().unwrap()).expect(0);
    let exchanged = google.asked(|asked| asked.path().ends_with(":generateAccessToken"));
    assert!(!exchanged.is_empty());
    google.assert_strict(&[]);
}
