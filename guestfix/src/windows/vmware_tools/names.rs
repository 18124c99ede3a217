// SPDX-License-Identifier: Apache-2.0
//! What VMware Tools is called in a guest: services, drivers and files of every version that was
//! seen. Hyper-V's services begin with `vm` too, so nothing is matched by a beginning.

/// Services and drivers that are VMware Tools' own; deleted.
const SERVICES: &[&str] = &[
    "vmtools",
    "vgauthservice",
    "vm3dservice",
    "vmvss",
    "vmupgradehelper",
    "vmwarecafmanagementagenthost",
    "vmwarecafcommamqplistener",
    "vmci",
    "vsock",
    "vmrawdsk",
    "vmmemctl",
    "vm3dmp",
    "vm3dmp_loader",
    "vm3dmp-debug",
    "vm3dmp-stats",
    "vmmouse",
    "vmusbmouse",
    "vmhgfs",
    "vmwefifw",
    "efifw",
    "vmaudio",
    "vmx_svga",
    "vmx_fb",
    "vmdebug",
    "vsepflt",
    "vnetwfp",
    "vmstatsprovider",
    "glxgi",
    "giappdef",
];

/// Deleted where the registry shows that they are VMware's: others have services of these names.
const SHARED: &[&str] = &[
    "gisvc",
    "tpautoconnsvc",
    "tpvcgateway",
    "cblauncher",
    "tpautoconnect",
];

/// Left in place: the guest would not start again on VMware without them, and nothing is amiss
/// where their devices are not. One that is bound to network cards is only disabled.
const KEPT: &[&str] = &[
    "pvscsi",
    "vmxnet",
    "vmxnet3",
    "vmxnet3ndis6",
    "e1000",
    "e1iexpress",
    "lsi_sas",
    "lsi_scsi",
];

/// Bound to every network card: deleting it alone would break the bindings.
pub(super) const DISABLED: &[&str] = &["vnetflt"];

/// The service belongs to VMware Tools; `shown` is whether its key names VMware.
pub(super) fn is_tools(service: &str, shown: bool) -> bool {
    let name = service.to_lowercase();
    SERVICES.contains(&name.as_str()) || (shown && SHARED.contains(&name.as_str()))
}

/// The service stays.
pub(super) fn is_kept(service: &str) -> bool {
    let name = service.to_lowercase();
    KEPT.contains(&name.as_str())
}

/// Driver packages that stay in the driver store, by the name of their INF.
pub(super) const KEPT_INFS: &[&str] = &[
    "pvscsi.inf",
    "vmxnet3.inf",
    "vmxnet.inf",
    "vmxnet3ndis6.inf",
];

/// Sources of events.
pub(super) const EVENT_SOURCES: &[&str] = &[
    "vgauth",
    "vmtools",
    "vmware tools",
    "vmupgradehelper",
    "vmstatsprovider",
    "vm3dmp",
    "vmci",
    "vsepflt",
    "vnetflt",
    "vnetwfp",
    "vm3dservice",
    "vmrawdsk",
];

/// Values of `Run` by name.
pub(super) const RUN: &[&str] = &[
    "vmware user process",
    "vmware tools",
    "vmware vm3dservice process",
];

/// Files in `System32\drivers`, without `.sys`.
pub(super) const DRIVER_FILES: &[&str] = &[
    "vmci",
    "vsock",
    "vmhgfs",
    "vmmemctl",
    "vmmouse",
    "vmusbmouse",
    "vmrawdsk",
    "vm3dmp",
    "vm3dmp_loader",
    "vm3dmp-debug",
    "vm3dmp-stats",
    "vsepflt",
    "vnetwfp",
    "efifw",
    "vmwefifw",
    "vmaudio",
    "vmx_svga",
    "vmx_fb",
    "vmdebug",
];

/// Files in `System32` and `SysWOW64`.
pub(super) const LIBRARIES: &[&str] = &[
    "vsocklib.dll",
    "vmhgfs.dll",
    "vmguestlib.dll",
    "vmguestlibjava.dll",
    "vmwsu.dll",
    "vmwogl32.dll",
    "vm3dservice.exe",
    "vm3ddevapi64.dll",
    "vm3ddevapi.dll",
    "vm3dgl.dll",
    "vm3dgl64.dll",
    "vm3dglhelper.dll",
    "vm3dglhelper64.dll",
    "vm3dum.dll",
    "vm3dum64.dll",
    "vm3dum64_10.dll",
    "vm3dum_10.dll",
    "vm3dum64_loader.dll",
    "vm3dum_loader.dll",
    "vm3dum64_10-debug.dll",
    "vm3dum_10-debug.dll",
    "vm3dum64_10-stats.dll",
    "vm3dum_10-stats.dll",
    "vm3dum64-debug.dll",
    "vm3dum-debug.dll",
    "vm3dum64-stats.dll",
    "vm3dum-stats.dll",
    "vm3dco.dll",
    "vm3dc003.dll",
    "vmwarebase.dll",
    "tpvmmon.dll",
    "tpvmmondeu.dll",
    "tpvmmonjpn.dll",
    "tpvmmonui.dll",
    "tpvmmonuideu.dll",
    "tpvmmonuijpn.dll",
    "tpvmw32.dll",
];

/// Folders of VMware Tools, below `Program Files` or `ProgramData`.
pub(super) const PROGRAM_FOLDERS: &[&str] = &[
    "Program Files/VMware/VMware Tools",
    "Program Files/Common Files/VMware/Drivers",
    "Program Files/Common Files/VMware/InstallerCache",
    "Program Files (x86)/VMware/VMware Tools",
    "Program Files (x86)/Common Files/VMware/Drivers",
    "ProgramData/VMware/VMware Tools",
    "ProgramData/VMware/VMware VGAuth",
    "ProgramData/VMware/VMware CAF",
    "ProgramData/VMware/RawdskCompatibility",
    "ProgramData/Microsoft/Windows/Start Menu/Programs/VMware/VMware Tools",
];

/// A path, or a command with one, that leads into VMware Tools' folders.
pub(super) fn is_tools_path(text: &str) -> bool {
    let text = text.to_lowercase().replace('/', "\\");
    // The installer writes `C?` for a drive that it does not insist upon.
    let folders = [
        "\\vmware\\vmware tools",
        "\\common files\\vmware\\drivers",
        "\\common files\\vmware\\installercache",
        "\\vmware\\vmware vgauth",
        "\\vmware\\vmware caf",
        "\\vmware\\rawdskcompatibility",
    ];
    if folders.iter().any(|folder| text.contains(folder)) {
        return true;
    }
    let file = text
        .trim_end_matches(['"', ' '])
        .rsplit('\\')
        .next()
        .unwrap_or_default();
    let file = file.split([',', ' ', '"']).next().unwrap_or_default();
    let driver = file
        .strip_suffix(".sys")
        .is_some_and(|name| DRIVER_FILES.contains(&name));
    driver || LIBRARIES.contains(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_v_s_services_and_what_the_old_machine_needs_are_no_tools() {
        for name in [
            "vmbus",
            "vmgid",
            "vmgencounter",
            "vmstorfl",
            "vms3cap",
            "vmicvss",
            "pvscsi",
            "vmxnet3ndis6",
            "e1iexpress",
        ] {
            assert!(!is_tools(name, true), "{name}");
        }
        assert!(is_tools("VMMEMCTL", false) && is_tools("TPAutoConnSvc", true));
        assert!(!is_tools("TPAutoConnSvc", false));
    }

    #[test]
    fn paths_of_tools_are_told_from_those_of_other_products() {
        for (path, tools) in [
            (
                "\"C:\\Program Files\\VMware\\VMware Tools\\vmtoolsd.exe\" -n vmusr",
                true,
            ),
            (
                "D:\\Program Files\\Common Files\\VMware\\Drivers\\vmci\\device\\Win8",
                true,
            ),
            ("\\SystemRoot\\system32\\DRIVERS\\vm3dmp.sys", true),
            ("%windir%\\system32\\vsocklib.dll", true),
            (
                "C:\\Program Files\\VMware\\VMware View\\Agent\\bin\\wsnm.exe",
                false,
            ),
            (
                "C:\\Program Files (x86)\\VMware\\VMware Workstation\\vmware.exe",
                false,
            ),
            ("System32\\drivers\\pvscsi.sys", false),
            ("System32\\drivers\\vmbus.sys", false),
        ] {
            assert_eq!(is_tools_path(path), tools, "{path}");
        }
    }
}
