# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_guestfix_global_optspecs
    string join \n format= state-dir= progress= v/verbose h/help V/version
end

function __fish_guestfix_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_guestfix_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_guestfix_using_subcommand
    set -l cmd (__fish_guestfix_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c guestfix -n "__fish_guestfix_needs_command" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_needs_command" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_needs_command" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_needs_command" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_needs_command" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "inspect" -d 'Show what is on the disks: volumes, operating system, kernels, network, traces of VMware'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "plan" -d 'Show what convert would change, as a diff. Writes nothing'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "convert" -d 'Make the guest boot on KubeVirt. All or nothing; undo takes it back'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "verify" -d 'Run every check against the disks as they are'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "doctor" -d 'Explain why this guest would not boot on KubeVirt, and what would fix it. Writes nothing'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "boot" -d 'Boot the guest in QEMU on a throw-away overlay and tell what happened'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "undo" -d 'Give back every byte of the last conversion'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "recover" -d 'Finish or drop an interrupted commit'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "drivers" -d 'Show what a driver bundle holds, and what would be picked for a Windows release and why'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "hive" -d 'Read or repair one Windows registry hive file'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "host" -d 'Show what this machine can mount, run and boot'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "state" -d 'List or prune journals and undo records'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "checks" -d 'List every check'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "generate" -d 'Write man pages, shell completions or JSON schemas'
complete -c guestfix -n "__fish_guestfix_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l root -d 'The volume to inspect when several hold an operating system' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand inspect" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l root -d 'The volume to convert when several hold an operating system' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l initramfs -d 'How the initramfs gets its virtio drivers' -r -f -a "auto\t'The first of keep, splice and rebuild that works'
keep\t'Leave it: it must already hold the drivers'
splice\t'Append the missing modules as one cpio archive; no guest program runs'
rebuild\t'Run the guest\'s own tool in the sandbox'"
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l nic -d 'The hardware address that the interface NAME will have; may be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l ip -d 'Give the card with this hardware address another IP address; may be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l vm -d 'What describes the machine (OVF, VMX, libvirt XML or KubeVirt VirtualMachine): its network cards tell which is which, its disks and firmware are compared' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l guest-agent-packages -d 'Install the QEMU guest agent, where it is missing, from the packages in this directory: the one for the guest\'s release and architecture is chosen by its name, and with it liburing, libnuma and glib where they lie there and the guest lacks them' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l firstboot -d 'Run this script once after the first boot; may be given several times, the order counts' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l drivers -d 'Where a Windows guest\'s virtio drivers come from: a virtio-win ISO or directory. Without this option $VIRTIO_WIN, and then /usr/share/virtio-win' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l bus -d 'The disk bus that the VM will have. All of them will work; this one is recommended' -r -f -a "virtio\t'virtio-blk'
scsi\t'virtio-scsi'
sata\t'SATA (AHCI)'"
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -s o -l output -d 'Also write the plan as JSON, for convert --plan' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l no-guest-code -d 'Run no program of the guest; VMware Tools are then disabled and not removed'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -l allow-unsigned-drivers -d 'Take drivers, too, that no catalogue of the bundle vouches for'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand plan" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l root -d 'The volume to convert when several hold an operating system' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l initramfs -d 'How the initramfs gets its virtio drivers' -r -f -a "auto\t'The first of keep, splice and rebuild that works'
keep\t'Leave it: it must already hold the drivers'
splice\t'Append the missing modules as one cpio archive; no guest program runs'
rebuild\t'Run the guest\'s own tool in the sandbox'"
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l nic -d 'The hardware address that the interface NAME will have; may be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l ip -d 'Give the card with this hardware address another IP address; may be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l vm -d 'What describes the machine (OVF, VMX, libvirt XML or KubeVirt VirtualMachine): its network cards tell which is which, its disks and firmware are compared' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l guest-agent-packages -d 'Install the QEMU guest agent, where it is missing, from the packages in this directory: the one for the guest\'s release and architecture is chosen by its name, and with it liburing, libnuma and glib where they lie there and the guest lacks them' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l firstboot -d 'Run this script once after the first boot; may be given several times, the order counts' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l drivers -d 'Where a Windows guest\'s virtio drivers come from: a virtio-win ISO or directory. Without this option $VIRTIO_WIN, and then /usr/share/virtio-win' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l bus -d 'The disk bus that the VM will have. All of them will work; this one is recommended' -r -f -a "virtio\t'virtio-blk'
scsi\t'virtio-scsi'
sata\t'SATA (AHCI)'"
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l plan -d 'Convert only if the changes are exactly those of this reviewed plan' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l to -d 'Make new disks and leave those given as they are: raw or qcow2, and where. OUT becomes a file for one disk, and a directory of disk0, disk1, ... for several; it must not exist yet, and is there only when it is complete. The way for VMDK and OVA' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l no-guest-code -d 'Run no program of the guest; VMware Tools are then disabled and not removed'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l allow-unsigned-drivers -d 'Take drivers, too, that no catalogue of the bundle vouches for'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l dry-run -d 'Do everything but write to the disks'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l commit-anyway -d 'Write to the disks even if a check fails. The guest may not boot; undo still works'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -l ask-before-commit -d 'Before the first write to a disk say so (the progress line commit-pending) and wait for the line `go` on stdin; anything else, and its end too, ends it with nothing written'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand convert" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l root -d 'The volume to check when several hold an operating system' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l bus -d 'The disk bus that the VM will have' -r -f -a "virtio\t'virtio-blk'
scsi\t'virtio-scsi'
sata\t'SATA (AHCI)'"
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand verify" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l root -d 'The volume to convert when several hold an operating system' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l initramfs -d 'How the initramfs gets its virtio drivers' -r -f -a "auto\t'The first of keep, splice and rebuild that works'
keep\t'Leave it: it must already hold the drivers'
splice\t'Append the missing modules as one cpio archive; no guest program runs'
rebuild\t'Run the guest\'s own tool in the sandbox'"
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l nic -d 'The hardware address that the interface NAME will have; may be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l ip -d 'Give the card with this hardware address another IP address; may be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l vm -d 'What describes the machine (OVF, VMX, libvirt XML or KubeVirt VirtualMachine): its network cards tell which is which, its disks and firmware are compared' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l guest-agent-packages -d 'Install the QEMU guest agent, where it is missing, from the packages in this directory: the one for the guest\'s release and architecture is chosen by its name, and with it liburing, libnuma and glib where they lie there and the guest lacks them' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l firstboot -d 'Run this script once after the first boot; may be given several times, the order counts' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l drivers -d 'Where a Windows guest\'s virtio drivers come from: a virtio-win ISO or directory. Without this option $VIRTIO_WIN, and then /usr/share/virtio-win' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l bus -d 'The disk bus that the VM will have. All of them will work; this one is recommended' -r -f -a "virtio\t'virtio-blk'
scsi\t'virtio-scsi'
sata\t'SATA (AHCI)'"
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l no-guest-code -d 'Run no program of the guest; VMware Tools are then disabled and not removed'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -l allow-unsigned-drivers -d 'Take drivers, too, that no catalogue of the bundle vouches for'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l bus -d 'The disk bus of the virtual machine' -r -f -a "virtio\t'virtio-blk'
scsi\t'virtio-scsi'
sata\t'SATA (AHCI)'"
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l timeout -d 'Seconds until the boot counts as inconclusive' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l screenshot -d 'Save the screen as it was at the end' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand boot" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -l all -d 'Undo every conversion, back to the original'
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand undo" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l key -d 'The key of an encrypted volume, kept in a file whose bytes, all of them, are the key; VOLUME is its name, its LUKS UUID or all. May be given several times' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l boot-disk -d 'The disk that the guest starts from, one of those given; detected where this is left out' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l allow-degraded -d 'Use arrays and mirrors that lack members or were being rebuilt'
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -l allow-backing -d 'Read what qcow2 images are backed by, where it lies in the image\'s own directory and its format is stated'
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand recover" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -l for -d 'Also show what would be picked for that release: w10/amd64, 2022/amd64, or 10.0.20348/amd64/server' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand drivers" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "get" -d 'Show a key\'s subkeys and values, or one value'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "set" -d 'Create a key, or set a value of a key that is created where it is missing'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "delete" -d 'Delete a key with everything beneath it, or one value'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "export" -d 'Print a key and everything beneath it as .reg text (UTF-8)'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "diff" -d 'Show what differs between two hives; exit 1 if anything does'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "check" -d 'Walk the whole hive and say what is in it and what is odd about it'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and not __fish_seen_subcommand_from get set delete export diff check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from set" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from delete" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -l prefix -d 'What stands before every key, for example \'HKEY_LOCAL_MACHINE\\\\SYSTEM\'' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from export" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from diff" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -l accept-dirty -d 'Open a hive that was not closed cleanly and that its logs cannot make whole; its last writes are lost'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "get" -d 'Show a key\'s subkeys and values, or one value'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "set" -d 'Create a key, or set a value of a key that is created where it is missing'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "delete" -d 'Delete a key with everything beneath it, or one value'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print a key and everything beneath it as .reg text (UTF-8)'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Show what differs between two hives; exit 1 if anything does'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "check" -d 'Walk the whole hive and say what is in it and what is odd about it'
complete -c guestfix -n "__fish_guestfix_using_subcommand hive; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c guestfix -n "__fish_guestfix_using_subcommand host" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand host" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand host" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand host" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand host" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand host" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -f -a "list" -d 'Show what is kept for which disks'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -f -a "prune" -d 'Remove undo records of disks that no longer exist, or that are older than --days'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and not __fish_seen_subcommand_from list prune help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from list" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from list" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from list" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -l days -d 'Also remove undo records older than this' -r
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -l dry-run -d 'Only show what would be removed'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from prune" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from help" -f -a "list" -d 'Show what is kept for which disks'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from help" -f -a "prune" -d 'Remove undo records of disks that no longer exist, or that are older than --days'
complete -c guestfix -n "__fish_guestfix_using_subcommand state; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c guestfix -n "__fish_guestfix_using_subcommand checks" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand checks" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand checks" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand checks" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand checks" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand checks" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand generate" -l format -d 'How to print the result; errors too' -r -f -a "text\t'For people'
json\t'One JSON document on stdout'"
complete -c guestfix -n "__fish_guestfix_using_subcommand generate" -l state-dir -d 'Where journals and undo records are kept' -r -F
complete -c guestfix -n "__fish_guestfix_using_subcommand generate" -l progress -d 'How to show progress on stderr; auto draws a bar on a terminal and writes JSON lines elsewhere' -r -f -a "auto\t'A bar on a terminal, JSON lines elsewhere'
json\t'One JSON line per step'
none\t'Nothing'"
complete -c guestfix -n "__fish_guestfix_using_subcommand generate" -s v -l verbose -d 'Log what is done to stderr; twice for more'
complete -c guestfix -n "__fish_guestfix_using_subcommand generate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c guestfix -n "__fish_guestfix_using_subcommand generate" -s V -l version -d 'Print version'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "inspect" -d 'Show what is on the disks: volumes, operating system, kernels, network, traces of VMware'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "plan" -d 'Show what convert would change, as a diff. Writes nothing'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "convert" -d 'Make the guest boot on KubeVirt. All or nothing; undo takes it back'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "verify" -d 'Run every check against the disks as they are'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "doctor" -d 'Explain why this guest would not boot on KubeVirt, and what would fix it. Writes nothing'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "boot" -d 'Boot the guest in QEMU on a throw-away overlay and tell what happened'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "undo" -d 'Give back every byte of the last conversion'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "recover" -d 'Finish or drop an interrupted commit'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "drivers" -d 'Show what a driver bundle holds, and what would be picked for a Windows release and why'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "hive" -d 'Read or repair one Windows registry hive file'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "host" -d 'Show what this machine can mount, run and boot'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "state" -d 'List or prune journals and undo records'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "checks" -d 'List every check'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "generate" -d 'Write man pages, shell completions or JSON schemas'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and not __fish_seen_subcommand_from inspect plan convert verify doctor boot undo recover drivers hive host state checks generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "get" -d 'Show a key\'s subkeys and values, or one value'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "set" -d 'Create a key, or set a value of a key that is created where it is missing'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "delete" -d 'Delete a key with everything beneath it, or one value'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "export" -d 'Print a key and everything beneath it as .reg text (UTF-8)'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "diff" -d 'Show what differs between two hives; exit 1 if anything does'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from hive" -f -a "check" -d 'Walk the whole hive and say what is in it and what is odd about it'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from state" -f -a "list" -d 'Show what is kept for which disks'
complete -c guestfix -n "__fish_guestfix_using_subcommand help; and __fish_seen_subcommand_from state" -f -a "prune" -d 'Remove undo records of disks that no longer exist, or that are older than --days'
