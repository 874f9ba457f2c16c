//! Schemas in Spark's DDL: `order_id STRING, amount DOUBLE NOT NULL`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr, Result};

/// The expression that makes the schema.
pub(crate) fn schema(ddl: &LitStr) -> Result<TokenStream> {
    let text = ddl.value();
    let fields = split(&text)
        .into_iter()
        .map(|column| field(column).map_err(|message| Error::new(ddl.span(), message)))
        .collect::<Result<Vec<_>>>()?;
    Ok(quote!(private::arrow::datatypes::Schema::new(::std::vec![#(#fields),*])))
}

/// Splits at the commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c: char| {
        match c {
            '(' | '<' => depth += 1,
            ')' | '>' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn field(column: &str) -> std::result::Result<TokenStream, String> {
    let column = column.trim();
    let shape = || format!("\"{column}\" is not a column; write a name and a type, as `id STRING`");
    let (name, data_type) = column.split_once(char::is_whitespace).ok_or_else(shape)?;
    let name = name.trim_end_matches(':').trim_matches('`');
    let data_type = data_type.trim().to_ascii_uppercase();
    let (data_type, nullable) = match data_type.strip_suffix("NOT NULL") {
        Some(data_type) => (data_type.trim().to_owned(), false),
        None => (data_type, true),
    };
    let data_type = arrow_type(&data_type)?;
    Ok(quote! {
        private::arrow::datatypes::Field::new(
            #name,
            #data_type,
            #nullable,
        )
    })
}

fn arrow_type(name: &str) -> std::result::Result<TokenStream, String> {
    Ok(match name {
        "STRING" => quote!(private::arrow::datatypes::DataType::Utf8),
        "DOUBLE" => quote!(private::arrow::datatypes::DataType::Float64),
        "FLOAT" | "REAL" => quote!(private::arrow::datatypes::DataType::Float32),
        "BIGINT" | "LONG" => quote!(private::arrow::datatypes::DataType::Int64),
        "INT" | "INTEGER" => quote!(private::arrow::datatypes::DataType::Int32),
        "SMALLINT" | "SHORT" => quote!(private::arrow::datatypes::DataType::Int16),
        "TINYINT" | "BYTE" => quote!(private::arrow::datatypes::DataType::Int8),
        "BOOLEAN" => quote!(private::arrow::datatypes::DataType::Boolean),
        "BINARY" => quote!(private::arrow::datatypes::DataType::Binary),
        "DATE" => quote!(private::arrow::datatypes::DataType::Date32),
        "TIMESTAMP" => {
            quote!(private::arrow::datatypes::DataType::Timestamp(
                private::arrow::datatypes::TimeUnit::Microsecond,
                Some("UTC".into())
            ))
        }
        "TIMESTAMP_NTZ" => quote!(private::arrow::datatypes::DataType::Timestamp(
            private::arrow::datatypes::TimeUnit::Microsecond,
            None
        )),
        _ => return decimal(name).ok_or_else(|| unknown(name)),
    })
}

/// `DECIMAL(precision, scale)`.
fn decimal(name: &str) -> Option<TokenStream> {
    let arguments = name.strip_prefix("DECIMAL")?.trim();
    let arguments = arguments.strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = arguments.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let valid = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
    valid.then(|| quote!(private::arrow::datatypes::DataType::Decimal128(#precision, #scale)))
}

fn unknown(name: &str) -> String {
    format!(
        "`{name}` is not a type that can be declared here; use STRING, DOUBLE, FLOAT, BIGINT, INT, \
         SMALLINT, TINYINT, BOOLEAN, BINARY, DATE, TIMESTAMP, TIMESTAMP_NTZ or DECIMAL(p, s)"
    )
}
