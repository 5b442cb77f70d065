//! Sub-resources of buckets and objects: `?versioning`, `?lifecycle`, `?acl` and the like, which are the JSON API's
//! settings in another dress.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::tree::Element;
use super::{Xml, as_json, document, read_document, texts};
use crate::emulator::storage::Storage;
use crate::emulator::storage::buckets::{self, Bucket};
use crate::emulator::storage::lists::{self, Entry, Of};
use crate::emulator::storage::objects::{self, Preconditions};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, empty};

/// Those of a bucket that are served.
pub(super) const OF_BUCKET: [&str; 12] = [
    "acl",
    "billing",
    "cors",
    "defaultObjectAcl",
    "encryptionConfig",
    "lifecycle",
    "location",
    "logging",
    "storageClass",
    "tagging",
    "versioning",
    "websiteConfig",
];

/// The conditions of a lifecycle's rule: XML's names, JSON's names, and whether the value is a text.
const CONDITIONS: [(&str, &str, bool); 11] = [
    ("Age", "age", false),
    ("CreatedBefore", "createdBefore", true),
    ("CustomTimeBefore", "customTimeBefore", true),
    ("DaysSinceCustomTime", "daysSinceCustomTime", false),
    ("DaysSinceNoncurrentTime", "daysSinceNoncurrentTime", false),
    ("IsLive", "isLive", false),
    ("MatchesPrefix", "matchesPrefix", true),
    ("MatchesStorageClass", "matchesStorageClass", true),
    ("MatchesSuffix", "matchesSuffix", true),
    ("NoncurrentTimeBefore", "noncurrentTimeBefore", true),
    ("NumberOfNewerVersions", "numNewerVersions", false),
];

fn leaf(name: &str, text: impl Into<String>) -> Element {
    Element {
        name: name.to_owned(),
        text: text.into(),
        ..Element::default()
    }
}

fn node(name: &str, children: Vec<Element>) -> Element {
    Element {
        name: name.to_owned(),
        children,
        ..Element::default()
    }
}

/// A JSON value's text; `None` where it is absent.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn leaves(name: &str, value: &Value) -> Vec<Element> {
    match value {
        Value::Array(items) => items
            .iter()
            .filter_map(plain)
            .map(|text| leaf(name, text))
            .collect(),
        one => plain(one)
            .map(|text| leaf(name, text))
            .into_iter()
            .collect(),
    }
}

fn write(xml: &mut Xml, element: &Element) -> std::io::Result<()> {
    if element.children.is_empty() && element.attributes.is_empty() {
        return texts(xml, [(element.name.as_str(), element.text.as_str())]);
    }
    let attributes = element
        .attributes
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()));
    xml.create_element(element.name.as_str())
        .with_attributes(attributes)
        .write_inner_content(|xml| {
            element
                .children
                .iter()
                .try_for_each(|child| write(xml, child))
        })?;
    Ok(())
}

fn answer(root: &Element) -> Answer {
    let written = document(&root.name, |xml| {
        if root.children.is_empty() {
            let text = quick_xml::events::BytesText::new(&root.text);
            return xml.write_event(quick_xml::events::Event::Text(text));
        }
        root.children.iter().try_for_each(|child| write(xml, child))
    });
    Ok(written?.into())
}

fn acl(entries: &[Entry], project: &str) -> Element {
    let scope = |entity: &str| {
        let (kind, inner) = match entity.split_once('-') {
            Some(("user", who)) if who.contains('@') => {
                ("UserByEmail", Some(("EmailAddress", who)))
            }
            Some(("user", who)) => ("UserById", Some(("ID", who))),
            Some(("group", who)) if who.contains('@') => {
                ("GroupByEmail", Some(("EmailAddress", who)))
            }
            Some(("group", who)) => ("GroupById", Some(("ID", who))),
            Some(("domain", domain)) => ("GroupByDomain", Some(("Domain", domain))),
            Some(_) => ("GroupById", Some(("ID", entity))),
            None if entity == "allUsers" => ("AllUsers", None),
            None => ("AllAuthenticatedUsers", None),
        };
        let mut scope = node(
            "Scope",
            inner
                .map(|(name, text)| leaf(name, text))
                .into_iter()
                .collect(),
        );
        scope.attributes.push(("type".to_owned(), kind.to_owned()));
        scope
    };
    let entry = |Entry { entity, role }: &Entry| {
        let permission = match role.as_str() {
            "OWNER" => "FULL_CONTROL",
            "WRITER" => "WRITE",
            _ => "READ",
        };
        node("Entry", vec![scope(entity), leaf("Permission", permission)])
    };
    let owner = node(
        "Owner",
        vec![leaf("ID", format!("project-owners-{project}"))],
    );
    let entries = node("Entries", entries.iter().map(entry).collect());
    node("AccessControlList", vec![owner, entries])
}

/// The list in a document, as the JSON API takes it.
fn read_acl(root: &Element) -> Option<Value> {
    let entries = root
        .child("Entries")
        .into_iter()
        .flat_map(|entries| entries.all("Entry"));
    let read = entries.map(|entry| {
        let scope = entry.child("Scope")?;
        let kind = scope.attributes.iter().find(|(name, _)| name == "type")?;
        let kind = kind.1.to_ascii_lowercase();
        let of = |field: &str, prefix: &str| Some(format!("{prefix}{}", scope.text_of(field)?));
        let entity = match kind.as_str() {
            "allusers" => "allUsers".to_owned(),
            "allauthenticatedusers" => "allAuthenticatedUsers".to_owned(),
            "userbyemail" => of("EmailAddress", "user-")?,
            "userbyid" => of("ID", "user-")?,
            "groupbyemail" => of("EmailAddress", "group-")?,
            "groupbydomain" => of("Domain", "domain-")?,
            "groupbyid" => {
                let id = scope.text_of("ID")?;
                let id = id.strip_prefix("group-").unwrap_or(id);
                if id.starts_with("project-") {
                    id.to_owned()
                } else {
                    format!("group-{id}")
                }
            }
            _ => return None,
        };
        let role = match entry.text_of("Permission")? {
            "FULL_CONTROL" => "OWNER",
            "WRITE" => "WRITER",
            "READ" => "READER",
            _ => return None,
        };
        Some(json!({"entity": entity, "role": role}))
    });
    read.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// `GET /BUCKET?name`.
pub(super) fn get(storage: &Arc<Storage>, request: &Request, name: &str) -> Answer {
    let bucket = Bucket::find(storage, &request.params[0])?;
    let setting = |name: &str| bucket.setting(name);
    let on = |value: &Value| {
        if *value == true {
            "Enabled"
        } else {
            "Disabled"
        }
    };
    let root = match name {
        "acl" => acl(&lists::entries(&bucket, Of::Bucket, None)?, &bucket.project),
        "defaultObjectAcl" => acl(
            &lists::entries(&bucket, Of::Default, None)?,
            &bucket.project,
        ),
        "location" => leaf("LocationConstraint", bucket.location.as_str()),
        "storageClass" => leaf("StorageClass", bucket.storage_class.as_str()),
        "billing" => {
            let pays = on(&setting("billing")["requesterPays"]);
            node("BillingConfiguration", vec![leaf("RequesterPays", pays)])
        }
        "versioning" => {
            let status = match setting("versioning")["enabled"] {
                Value::Bool(true) => Some("Enabled"),
                Value::Bool(false) => Some("Suspended"),
                _ => None,
            };
            let status = status.map(|status| leaf("Status", status));
            node("VersioningConfiguration", status.into_iter().collect())
        }
        "encryptionConfig" => {
            let key = leaves(
                "DefaultKmsKeyName",
                &setting("encryption")["defaultKmsKeyName"],
            );
            node("EncryptionConfiguration", key)
        }
        "logging" => {
            let logging = setting("logging");
            let mut children = leaves("LogBucket", &logging["logBucket"]);
            children.extend(leaves("LogObjectPrefix", &logging["logObjectPrefix"]));
            node("Logging", children)
        }
        "websiteConfig" => {
            let website = setting("website");
            let mut children = leaves("MainPageSuffix", &website["mainPageSuffix"]);
            children.extend(leaves("NotFoundPage", &website["notFoundPage"]));
            node("WebsiteConfiguration", children)
        }
        "tagging" => {
            let labels = setting("labels").as_object().into_iter().flatten();
            let tag = |(key, value): (&String, &Value)| {
                let value = plain(value).unwrap_or_default();
                node("Tag", vec![leaf("Key", key.as_str()), leaf("Value", value)])
            };
            let tags = labels.map(tag).collect();
            node("Tagging", vec![node("TagSet", tags)])
        }
        "cors" => {
            let rules = setting("cors").as_array().into_iter().flatten();
            let rule = |rule: &Value| {
                let mut children = Vec::new();
                for (all, one, field) in [
                    ("Origins", "Origin", "origin"),
                    ("Methods", "Method", "method"),
                    ("ResponseHeaders", "ResponseHeader", "responseHeader"),
                ] {
                    let found = leaves(one, &rule[field]);
                    if !found.is_empty() {
                        children.push(node(all, found));
                    }
                }
                children.extend(leaves("MaxAgeSec", &rule["maxAgeSeconds"]));
                node("Cors", children)
            };
            node("CorsConfig", rules.map(rule).collect())
        }
        _ => {
            let rules = setting("lifecycle")["rule"]
                .as_array()
                .into_iter()
                .flatten();
            let rule = |rule: &Value| {
                let kind = rule["action"]["type"].as_str().unwrap_or_default();
                let class = plain(&rule["action"]["storageClass"]).unwrap_or_default();
                let conditions = CONDITIONS
                    .iter()
                    .flat_map(|(xml, json, _)| leaves(xml, &rule["condition"][*json]));
                let conditions = node("Condition", conditions.collect());
                node(
                    "Rule",
                    vec![node("Action", vec![leaf(kind, class)]), conditions],
                )
            };
            node("LifecycleConfiguration", rules.map(rule).collect())
        }
    };
    answer(&root)
}

/// What a document sets, as a patch of the JSON API's resource.
fn patch(bucket: &Bucket, name: &str, root: &Element) -> Option<Value> {
    let enabled = |child: &str| match root.text_of(child)? {
        "Enabled" => Some(true),
        "Disabled" | "Suspended" => Some(false),
        _ => None,
    };
    let text = |child: &str| root.text_of(child).map_or(Value::Null, Value::from);
    let expected = match name {
        "acl" | "defaultObjectAcl" => "AccessControlList",
        "billing" => "BillingConfiguration",
        "cors" => "CorsConfig",
        "encryptionConfig" => "EncryptionConfiguration",
        "lifecycle" => "LifecycleConfiguration",
        "logging" => "Logging",
        "storageClass" => "StorageClass",
        "tagging" => "Tagging",
        "versioning" => "VersioningConfiguration",
        _ => "WebsiteConfiguration",
    };
    if root.name != expected {
        return None;
    }
    Some(match name {
        "acl" | "defaultObjectAcl" => json!({ name: read_acl(root)? }),
        "billing" => json!({"billing": {"requesterPays": enabled("RequesterPays")?}}),
        "versioning" => json!({"versioning": {"enabled": enabled("Status")?}}),
        "storageClass" => json!({"storageClass": root.text.trim()}),
        "encryptionConfig" => {
            json!({"encryption": {"defaultKmsKeyName": text("DefaultKmsKeyName")}})
        }
        "logging" if root.children.is_empty() => json!({"logging": null}),
        "logging" => json!({"logging": {
            "logBucket": text("LogBucket"),
            "logObjectPrefix": text("LogObjectPrefix"),
        }}),
        "tagging" => {
            // What is not named any more goes.
            let before = bucket.setting("labels").as_object().into_iter().flatten();
            let mut labels: Map<_, _> = before.map(|(key, _)| (key.clone(), Value::Null)).collect();
            for tag in root
                .child("TagSet")
                .into_iter()
                .flat_map(|set| set.all("Tag"))
            {
                labels.insert(tag.text_of("Key")?.to_owned(), tag.text_of("Value")?.into());
            }
            json!({ "labels": labels })
        }
        "cors" => {
            let rule = |rule: &Element| {
                let all = |all: &str, one: &str| -> Option<Vec<String>> {
                    let found = rule.child(all)?.all(one);
                    Some(
                        found
                            .map(|element| element.text.trim().to_owned())
                            .collect(),
                    )
                };
                let mut told = Map::new();
                for (field, found) in [
                    ("origin", all("Origins", "Origin")),
                    ("method", all("Methods", "Method")),
                    ("responseHeader", all("ResponseHeaders", "ResponseHeader")),
                ] {
                    told.extend(found.map(|found| (field.to_owned(), json!(found))));
                }
                if let Some(age) = rule.text_of("MaxAgeSec") {
                    told.insert("maxAgeSeconds".to_owned(), age.parse::<u64>().ok()?.into());
                }
                Some(Value::Object(told))
            };
            json!({"cors": root.all("Cors").map(rule).collect::<Option<Vec<_>>>()?})
        }
        "lifecycle" => {
            let rules = root
                .all("Rule")
                .map(read_rule)
                .collect::<Option<Vec<_>>>()?;
            json!({"lifecycle": {"rule": rules}})
        }
        _ => json!({"website": {
            "mainPageSuffix": text("MainPageSuffix"),
            "notFoundPage": text("NotFoundPage"),
        }}),
    })
}

fn read_rule(rule: &Element) -> Option<Value> {
    let action = rule.child("Action")?.children.first()?;
    let mut told = json!({"action": {"type": action.name}, "condition": {}});
    if !action.text.trim().is_empty() {
        told["action"]["storageClass"] = action.text.trim().into();
    }
    for condition in &rule.child("Condition")?.children {
        let (_, name, is_text) = CONDITIONS.iter().find(|(xml, ..)| *xml == condition.name)?;
        let text = condition.text.trim();
        let value: Value = if *is_text {
            text.into()
        } else {
            serde_json::from_str(text).ok()?
        };
        let slot = &mut told["condition"][*name];
        if name.starts_with("matches") {
            match slot {
                Value::Array(values) => values.push(value),
                _ => *slot = vec![value].into(),
            }
        } else {
            *slot = value;
        }
    }
    Some(told)
}

/// `PUT /BUCKET?name`.
pub(super) async fn put(storage: Arc<Storage>, mut request: Request, name: &'static str) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?;
    let of_list = matches!(name, "acl" | "defaultObjectAcl");
    let canned = request
        .header("x-goog-acl")
        .filter(|_| of_list)
        .map(str::to_owned);
    if name == "location" {
        return Err(ApiError::invalid_argument(
            "A bucket's location cannot be changed.",
        ));
    }
    let sent = match canned {
        Some(word) => {
            let of = if name == "acl" {
                Of::Bucket
            } else {
                Of::Default
            };
            json!({ name: lists::predefined(of, &word, &bucket.project)? })
        }
        None => {
            let root = read_document(&mut request).await?;
            patch(&bucket, name, &root).ok_or_else(super::malformed)?
        }
    };
    as_json(&mut request, &sent);
    buckets::patch(storage, request).await?;
    Ok(empty(StatusCode::OK).into())
}

/// `GET /BUCKET/OBJECT?acl`.
pub(super) fn object_acl(storage: &Storage, request: &Request) -> Answer {
    let bucket = Bucket::find(storage, &request.params[0])?;
    let generation = request.parse("generation")?;
    let object = objects::find(storage, &request.params[0], &request.params[1], generation)?;
    Preconditions::of(request)?.check_read(&object)?;
    answer(&acl(
        &lists::entries(&bucket, Of::Object, Some(&object))?,
        &bucket.project,
    ))
}

/// `PUT /BUCKET/OBJECT?acl`.
pub(super) async fn put_object_acl(storage: Arc<Storage>, mut request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?;
    let sent = match request.header("x-goog-acl") {
        Some(word) => json!(lists::predefined(Of::Object, word, &bucket.project)?),
        None => {
            let root = read_document(&mut request).await?;
            if root.name != "AccessControlList" {
                return Err(super::malformed());
            }
            read_acl(&root).ok_or_else(super::malformed)?
        }
    };
    as_json(&mut request, &json!({ "acl": sent }));
    objects::patch(storage, request).await?;
    Ok(empty(StatusCode::OK).into())
}
