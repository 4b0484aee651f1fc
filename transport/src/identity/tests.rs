//! Creation, permissions, dates and what is refused.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::*;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_authority_is_made_once_and_opened_again() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("new/authority");
    let now = SystemTime::now();
    assert!(matches!(
        LocalAuthority::open(&directory),
        Err(AuthorityError::Missing { .. })
    ));
    let authority = LocalAuthority::create(&directory, KeyAlgorithm::EcdsaP256, now).unwrap();
    assert!(matches!(
        LocalAuthority::create(&directory, KeyAlgorithm::EcdsaP256, now),
        Err(AuthorityError::Exists { .. })
    ));
    let opened = LocalAuthority::open_or_create(&directory, now).unwrap();
    assert_eq!(
        authority.trust().unwrap().pem(),
        opened.trust().unwrap().pem()
    );
    assert_eq!(mode(&place.path().join("new")), 0o700);
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("ca.key")), 0o600);
}

#[test]
fn issued_credentials_survive_saving_and_loading() {
    let place = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let directory = place.path().join(format!("{algorithm:?}"));
        let authority = LocalAuthority::create(&directory, algorithm, now).unwrap();
        let identity = authority
            .issue("risk-v1", algorithm, Validity::identity_from(now))
            .unwrap();
        let trust = authority.trust().unwrap();
        let home = directory.join("risk-v1");
        Credentials {
            identity: identity.clone(),
            trust,
        }
        .save(&home)
        .unwrap();
        assert_eq!(mode(&home), 0o700);
        assert_eq!(mode(&home.join("identity.key")), 0o600);
        let loaded = Credentials::load(&home).unwrap();
        assert_eq!(loaded.identity.name(), "risk-v1");
        assert_eq!(loaded.identity.chain_pem(), identity.chain_pem());
        let days = loaded
            .identity
            .expires()
            .duration_since(now)
            .unwrap()
            .as_secs_f64()
            / 86_400.0;
        assert!((89.9..=90.0).contains(&days), "{days}");
        assert!(tls::client_config(&loaded).is_ok() && tls::server_config(&loaded).is_ok());
    }
}

#[test]
fn processes_that_start_at_once_share_one_authority() {
    let place = tempfile::tempdir().unwrap();
    let state = StateDirectory::at(place.path().join("state"));
    let starters = 16;
    let barrier = Barrier::new(starters);
    let authorities: HashSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..starters)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let authority = state.local_authority(SystemTime::now()).unwrap();
                    authority.trust().unwrap().pem().to_owned()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(authorities.len(), 1);
    let names: Vec<_> = fs::read_dir(state.path().join("authority"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        names.len(),
        3,
        "only ca.pem, ca.key and .lock remain: {names:?}"
    );
}

#[test]
fn a_creation_that_died_half_way_is_taken_up_again() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
    fs::write(place.path().join("ca.key"), "half a key").unwrap();
    let authority = LocalAuthority::open_or_create(place.path(), SystemTime::now()).unwrap();
    assert!(authority.credentials("edge", SystemTime::now()).is_ok());
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = LocalAuthority::create(place.path(), KeyAlgorithm::EcdsaP256, now).unwrap();
    let home = place.path().join("edge");
    authority
        .credentials("edge", now)
        .unwrap()
        .save(&home)
        .unwrap();
    fs::set_permissions(home.join("identity.key"), Permissions::from_mode(0o640)).unwrap();
    let error = Identity::load(&home).unwrap_err();
    assert!(
        matches!(
            &error,
            IdentityError::File(FileError::KeyReadableByOthers { mode: 0o640, .. })
        ),
        "{error}"
    );
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(place.path().join("ca.key"), Permissions::from_mode(0o604)).unwrap();
    let error = LocalAuthority::open(place.path()).unwrap_err();
    assert!(
        matches!(
            error,
            AuthorityError::File(FileError::KeyReadableByOthers { mode: 0o604, .. })
        ),
        "{error}"
    );
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    let error = LocalAuthority::open_or_create(place.path(), SystemTime::now()).unwrap_err();
    assert!(
        matches!(
            error,
            AuthorityError::File(FileError::DirectoryWritableByOthers { .. })
        ),
        "{error}"
    );
}

#[test]
fn names_and_dates_that_cannot_stand_in_a_certificate_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = LocalAuthority::create(place.path(), KeyAlgorithm::EcdsaP256, now).unwrap();
    let issue = |name: &str, validity| authority.issue(name, KeyAlgorithm::EcdsaP256, validity);
    assert!(matches!(
        issue("a/b", Validity::identity_from(now)),
        Err(IssueError::Name(_))
    ));
    assert!(matches!(
        issue("a", Validity::between(now, now)),
        Err(IssueError::Validity)
    ));
    let after_the_authority = authority.expires() + Duration::from_secs(1);
    let never = Validity::between(
        after_the_authority,
        after_the_authority + Duration::from_secs(60),
    );
    assert!(matches!(issue("a", never), Err(IssueError::Validity)));
    let long = issue("a", Validity::days_from(now, 36_500)).unwrap();
    assert_eq!(
        long.expires(),
        authority.expires(),
        "an identity never outlives its authority"
    );
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = LocalAuthority::create(place.path(), KeyAlgorithm::EcdsaP256, now).unwrap();
    authority
        .credentials("one", now)
        .unwrap()
        .save(&place.path().join("one"))
        .unwrap();
    authority
        .credentials("two", now)
        .unwrap()
        .save(&place.path().join("two"))
        .unwrap();
    fs::copy(
        place.path().join("two/identity.key"),
        place.path().join("one/identity.key"),
    )
    .unwrap();
    assert!(matches!(
        Identity::load(&place.path().join("one")),
        Err(IdentityError::KeyMismatch)
    ));

    let chain = fs::read_to_string(place.path().join("two/identity.pem")).unwrap();
    let no_key = Identity::from_pem(chain, Zeroizing::new("no key".to_owned()));
    assert!(matches!(no_key, Err(IdentityError::NoKey)));
    let nothing = Identity::from_pem(String::new(), Zeroizing::new(String::new()));
    assert!(matches!(nothing, Err(IdentityError::NoCertificate)));
    assert!(matches!(
        Trust::from_pem("nothing".into()),
        Err(TrustError::NoCertificate)
    ));
    let authority_pem = fs::read_to_string(place.path().join("ca.pem")).unwrap();
    let key = Zeroizing::new(fs::read_to_string(place.path().join("ca.key")).unwrap());
    let unnamed = Identity::from_pem(authority_pem, key);
    assert!(matches!(
        unnamed,
        Err(IdentityError::Certificate(CertificateError::NoName))
    ));
}
