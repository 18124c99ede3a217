// SPDX-License-Identifier: Apache-2.0
//! `kubectl guestfix`: convert, status, report, undo.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use agent::api::condition::{self, Kind};
use agent::api::conversion::{
    Disk, GuestConversion, GuestConversionSpec, Mode, ObjectName, ProfileName,
};
use agent::api::foreign::{self, Machine};
use agent::api::names;
use clap::{Args, Parser, Subcommand};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config, ResourceExt};

/// Converts guests on a cluster, and shows what became of them.
#[derive(Debug, Parser)]
#[command(name = "kubectl-guestfix", bin_name = "kubectl guestfix", version)]
struct Cli {
    /// The namespace; the context's if left out.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, global = true)]
    context: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Convert a VirtualMachine, or the guest on the claims named.
    Convert(ConvertArgs),
    /// Show conversions, or one with its conditions.
    Status {
        /// Only this one, with its conditions.
        name: Option<String>,
    },
    /// Print the full report as JSON.
    Report {
        /// The GuestConversion.
        name: String,
    },
    /// Give every byte of a conversion back.
    Undo {
        /// The GuestConversion to take back.
        name: String,
        /// Wait for the end.
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Args)]
struct ConvertArgs {
    /// The VirtualMachine.
    #[arg(required_unless_present = "disk")]
    vm: Option<String>,
    /// A claim of the guest; several in the order of its disks.
    #[arg(long, value_name = "CLAIM")]
    disk: Vec<String>,
    /// The GuestConversionProfile.
    #[arg(long, default_value = "default")]
    profile: String,
    /// Only decide what would be changed.
    #[arg(long)]
    plan: bool,
    /// Wait for the end.
    #[arg(long)]
    wait: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kubectl guestfix: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> Result<u8, String> {
    let options = KubeConfigOptions {
        context: cli.context,
        ..KubeConfigOptions::default()
    };
    let config = Config::from_kubeconfig(&options)
        .await
        .map_err(|e| e.to_string())?;
    let namespace = cli
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|e| e.to_string())?;
    let api: Api<GuestConversion> = Api::namespaced(client.clone(), &namespace);
    match cli.verb {
        Verb::Convert(args) => {
            let disks = disks(client, &namespace, &args).await?;
            begin(&api, convert(args, disks)).await
        }
        Verb::Undo { name, wait } => begin(&api, (undo(name), wait)).await,
        Verb::Status { name: Some(name) } => {
            let conversion = api.get(&name).await.map_err(said)?;
            print(&one(&conversion))?;
            Ok(0)
        }
        Verb::Status { name: None } => {
            let all = api.list(&ListParams::default()).await.map_err(said)?;
            print(&table(&all.items))?;
            Ok(0)
        }
        Verb::Report { name } => report(client, &namespace, &api, &name).await,
    }
}

/// The disks named, or those of the machine: what the conversion names is shut from the first moment.
async fn disks(client: Client, namespace: &str, args: &ConvertArgs) -> Result<Vec<Disk>, String> {
    let named = args.disk.iter().map(|claim| Disk::of(claim)).collect();
    let Some(vm) = args.vm.as_ref().filter(|_| args.disk.is_empty()) else {
        return Ok(named);
    };
    let api: Api<Machine> = Api::namespaced_with(client, namespace, &foreign::machines());
    let machine = api.get(vm).await.map_err(said)?;
    let spec = &machine.spec.template.spec;
    Ok(spec.claims().map(Disk::of).collect())
}

fn convert(args: ConvertArgs, disks: Vec<Disk>) -> (GuestConversion, bool) {
    let named = args
        .vm
        .clone()
        .or_else(|| args.disk.first().cloned())
        .unwrap_or_default();
    let spec = GuestConversionSpec {
        mode: if args.plan { Mode::Plan } else { Mode::Convert },
        virtual_machine_ref: args.vm.map(|name| ObjectName { name }),
        disks: (!disks.is_empty()).then_some(disks),
        profile_ref: ProfileName { name: args.profile },
        ..GuestConversionSpec::default()
    };
    (object(&named, spec), args.wait)
}

fn undo(name: String) -> GuestConversion {
    let spec = GuestConversionSpec {
        mode: Mode::Undo,
        undo_of: Some(name.clone()),
        ..GuestConversionSpec::default()
    };
    object(&format!("undo-{name}"), spec)
}

/// Every run is an object of its own: the API server completes the name. It is held from the first
/// moment.
fn object(name: &str, spec: GuestConversionSpec) -> GuestConversion {
    let stem: String = name.chars().take(50).collect();
    GuestConversion {
        metadata: ObjectMeta {
            generate_name: Some(format!("{stem}-")),
            finalizers: Some(vec![names::FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

async fn begin(
    api: &Api<GuestConversion>,
    (conversion, wait): (GuestConversion, bool),
) -> Result<u8, String> {
    let made = api
        .create(&PostParams::default(), &conversion)
        .await
        .map_err(said)?;
    let name = made.name_any();
    print(&format!("guestconversion.guestfix.io/{name} created\n"))?;
    if !wait {
        return Ok(0);
    }
    loop {
        let conversion = api.get(&name).await.map_err(said)?;
        let conditions = conditions(&conversion);
        if condition::is_true(conditions, Kind::Finished) {
            print(&one(&conversion))?;
            let phase = conversion.status.as_ref().and_then(|s| s.phase);
            let good = phase == Some(agent::api::status::Phase::Succeeded);
            return Ok(u8::from(!good));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn report(
    client: Client,
    namespace: &str,
    api: &Api<GuestConversion>,
    name: &str,
) -> Result<u8, String> {
    let conversion = api.get(name).await.map_err(said)?;
    let stored = conversion
        .status
        .as_ref()
        .and_then(|s| s.report_ref.as_ref());
    let Some(stored) = stored else {
        return Err(format!(
            "{name} has no report (yet): kubectl guestfix status {name}"
        ));
    };
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let map = maps.get(&stored.config_map).await.map_err(said)?;
    let packed = map.binary_data.unwrap_or_default();
    let packed = packed
        .get(names::REPORT_KEY)
        .ok_or("the ConfigMap holds no report")?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.0.as_slice())
        .read_to_string(&mut text)
        .map_err(|e| format!("the report cannot be unpacked: {e}"))?;
    text.push('\n');
    print(&text)?;
    Ok(0)
}

fn conditions(conversion: &GuestConversion) -> &[Condition] {
    conversion
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default()
}

fn one(conversion: &GuestConversion) -> String {
    let mut out = table(std::slice::from_ref(conversion));
    for condition in conditions(conversion) {
        out.push_str(&format!(
            "{:13} {:8} {:20} {}\n",
            condition.type_, condition.status, condition.reason, condition.message
        ));
    }
    let status = conversion.status.clone().unwrap_or_default();
    for concern in status.concerns {
        out.push_str(&format!(
            "{}: {}: {}\n",
            concern.category, concern.id, concern.message
        ));
    }
    out
}

fn table(all: &[GuestConversion]) -> String {
    let mut out = format!(
        "{:40} {:8} {:11} {:8} {:22} {}\n",
        "NAME", "MODE", "PHASE", "READY", "REASON", "NODE"
    );
    for conversion in all {
        let status = conversion.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, Kind::Ready);
        let phase = status
            .phase
            .map(|phase| format!("{phase:?}"))
            .unwrap_or_default();
        out.push_str(&format!(
            "{:40} {:8} {:11} {:8} {:22} {}\n",
            conversion.name_any(),
            conversion.spec.mode.as_str(),
            phase,
            ready.map(|c| c.status.as_str()).unwrap_or("Unknown"),
            ready.map(|c| c.reason.as_str()).unwrap_or_default(),
            status.node_name.unwrap_or_default(),
        ));
    }
    out
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| e.to_string())
}

fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
