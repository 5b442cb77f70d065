//! Which tables or query are read, as of which moment, and what their columns are.

use anyhow::Result;
use futures_util::future::try_join_all;

use super::{QUERY, Source, Warehouse};
use crate::config::{self, Spot};
use crate::data::warehouse::join::TypedRelation;
use crate::data::warehouse::{Relation, types};
use crate::error::Input;
use crate::gcp::bigquery::TableName;
use crate::steps::bigquery::Session;
use crate::steps::bigquery::tables::{as_of, check_filter, columns, existing, has_past};
use crate::steps::lint::beside;
use crate::workspace::Digest;

impl Warehouse<'_> {
    /// The tables with their types, or the query's rows.
    pub(super) async fn sources(&self) -> Result<Vec<Source>> {
        let data = &self.lint.ctx.config.data;
        let untyped = match &data.query {
            Some(query) => vec![self.query(query).await?],
            None => try_join_all(data.tables.iter().map(|table| self.table(table))).await?,
        };
        self.print_price(&untyped).await?;
        try_join_all(untyped.into_iter().map(|source| self.typed(source))).await
    }

    /// A source with what its columns are taken for.
    async fn typed(&self, source: Untyped) -> Result<Source> {
        let rule = self.schema.and_then(|schema| schema.table(&source.name));
        let declared = |column: &str| rule?.column(column)?.kind;
        let queries = types::queries(&source.path, &source.relation);
        let answers = self.session.ask(queries).await?;
        let kinds = types::kinds(&source.relation, &answers, declared)?;
        Ok(Source {
            name: source.name,
            path: source.path,
            table: TypedRelation {
                relation: source.relation,
                kinds,
            },
            digest: source.digest,
            stored: source.stored,
        })
    }

    /// Tells what a scan of the tables reads, before any of it is read.
    async fn print_price(&self, sources: &[Untyped]) -> Result<()> {
        let scans = sources.iter().map(|source| async {
            let all = format!("SELECT * {}", source.relation.clause());
            self.session.describe(&all, None).await
        });
        let bytes = try_join_all(scans).await?.iter().map(|dry| dry.bytes).sum();
        println!(
            "bigquery: a scan of the tables reads {}",
            Session::price(bytes)
        );
        self.session.check(bytes)
    }

    /// A table as it was at the moment of the run; one that has no past is read into the staging dataset.
    async fn table(&self, table: &config::Table) -> Result<Untyped> {
        let name = &table.name;
        let place = table.bigquery.as_ref().ok_or_else(|| {
            Input::new(format!("table `{name}` has no `bigquery` place"))
                .at(table.place.clone())
                .hint(format!(
                    "add one, as in `{name}: {{bigquery: my-project.churn.{name}}}`"
                ))
        })?;
        let table_name: TableName = place
            .parse()
            .map_err(|e: Input| e.at(place.place.clone()))?;
        let path = format!("bq://{}", **place);
        let filter = table.filter.as_ref().map(|filter| filter.value.clone());
        let all = format!("SELECT * FROM {}", table_name.sql());
        if table_name.is_wildcard() {
            return self.stored(name, path, &all, filter, "").await;
        }
        let info = existing(&self.session.bigquery, &table_name, &place.place).await?;
        if filter.is_none() {
            check_filter(&info, &table_name, &table.place, "where: ")?;
        }
        // A server of this machine may not say.
        if !info.location.is_empty() && info.location != self.session.location {
            let (of_table, here) = (&info.location, &self.session.location);
            let message = format!(
                "the table `{}` is in {of_table}, and `data.staging` in {here}",
                **place
            );
            return Err(Input::new(message)
                .at(place.place.clone())
                .hint("a query reads tables of one location: name a staging dataset of theirs")
                .into());
        }
        if !has_past(&info) {
            return self.stored(name, path, &all, filter, &info.etag).await;
        }
        if info.has_streaming_buffer {
            println!(
                "table {name}: rows that were streamed in lately may be missing from its figures"
            );
        }
        let relation = Relation {
            from: as_of(&table_name, self.pinned.micros),
            columns: columns(&path, &info.schema)?,
            filter,
        };
        let state = format!(
            "{path}\n{}\n{}\n{:?}",
            info.etag, info.rows, relation.filter
        );
        Ok(Untyped {
            name: name.clone(),
            path,
            relation,
            digest: Digest::of(state.as_bytes()),
            stored: Some(info.rows),
        })
    }

    /// The rows of the query, which is run once.
    async fn query(&self, file: &Spot<String>) -> Result<Untyped> {
        let config = &self.lint.ctx.config;
        let path = beside(&config.path, file);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let message = format!("`data.query`: {} cannot be read: {e}", path.display());
            Input::new(message).at(file.place.clone())
        })?;
        let text = text.trim_end().trim_end_matches(';');
        let described = self.session.describe(text, Some(&path)).await?;
        let statement = described.statement_type.as_str();
        if !matches!(statement, "SELECT" | "") {
            return Err(Input::new(format!(
                "`data.query` is a {statement}, expected one SELECT"
            ))
            .at_file(&path)
            .hint("make tables elsewhere, and read them here")
            .into());
        }
        self.stored(QUERY, file.value.clone(), text, None, text)
            .await
    }

    /// Reads rows once into a table of the staging dataset. `state` is what is known of them beforehand.
    async fn stored(
        &self,
        name: &str,
        path: String,
        select: &str,
        filter: Option<String>,
        state: &str,
    ) -> Result<Untyped> {
        let select = match &filter {
            Some(filter) => format!("{select} WHERE ({filter})"),
            None => select.to_owned(),
        };
        let described = self.session.describe(&select, None).await?;
        let table = self.store(name, &select).await?;
        let state = format!("{path}\n{state}\n{}\n{filter:?}", self.pinned.micros);
        Ok(Untyped {
            name: name.to_owned(),
            relation: Relation {
                from: table,
                filter: None,
                columns: columns(&path, &described.schema)?,
            },
            path,
            digest: Digest::of(state.as_bytes()),
            stored: None,
        })
    }
}

/// A source before its columns' types are known.
struct Untyped {
    name: String,
    path: String,
    relation: Relation,
    digest: Digest,
    /// The rows of the table without a filter; none for what has no number of its own.
    stored: Option<u64>,
}
