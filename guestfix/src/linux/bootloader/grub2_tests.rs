// SPDX-License-Identifier: Apache-2.0
//! What reading and editing a GRUB 2 menu promises.

use super::super::super::fixture::{self, ROOT_UUID, SWAP_UUID};
use super::*;

const MENU: &str = r#"### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="0"
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
  fi
}
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	set root='hd0,msdos1'
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,msdos1  1
	else
	  search --no-floppy --fs-uuid --set=root 1
	fi
	echo	'Loading Linux 6.1.0-2-amd64 ...'
	linux	/boot/vmlinuz-6.1.0-2-amd64 root=/dev/sda1 ro  quiet resume="/dev/sda5"
	initrd	/boot/initrd.img-6.1.0-2-amd64
}
submenu 'Advanced options' $menuentry_id_option 'advanced' {
	menuentry 'Debian, with Linux 6.1.0-1-amd64' --id old {
		linux	/boot/vmlinuz-6.1.0-1-amd64 root=UUID=0a1b2c3d-1111-4222-8333-444455556666 ro console=ttyS1
		initrd	/boot/initrd.img-6.1.0-1-amd64
	}
	menuentry 'Debian, tiny' {
		linux	(hd0,1)/boot/vmlinuz-tiny root=/dev/sda1 ro
	}
}
menuentry 'Memory test' {
	linux16	/boot/memtest86+.bin
}
"#;

fn facts() -> Facts {
    let mut facts = fixture::facts();
    facts.guest.arch = "x86_64".to_owned();
    facts
}

#[test]
fn only_arguments_change() {
    let (new, concerns) = edit(&facts(), "grub.cfg", MENU.as_bytes(), Edits::new()).unwrap();
    let want = MENU
        .replace(
            "root=/dev/sda1 ro  quiet resume=\"/dev/sda5\"",
            &format!("root=UUID={ROOT_UUID} ro  quiet resume=\"UUID={SWAP_UUID}\" console=tty0 console=ttyS0,115200n8"),
        )
        .replace(
            "vmlinuz-tiny root=/dev/sda1 ro",
            "vmlinuz-tiny root=PARTUUID=1c2d3e4f-01 ro console=tty0 console=ttyS0,115200n8",
        );
    assert_eq!(String::from_utf8(new.clone()).unwrap(), want);
    assert!(concerns.is_empty());
    assert_eq!(
        edit(&facts(), "grub.cfg", &new, Edits::new()).unwrap().0,
        new
    );
}

#[test]
fn crlf_odd_bytes_and_a_missing_final_newline_survive() {
    let menu = b"menuentry 'caf\xe9' {\r\n linux /vmlinuz root=/dev/sda1 ro console=ttyS0\r\n initrd /i\r\n}";
    let (new, _) = edit(&facts(), "grub.cfg", menu, Edits::new()).unwrap();
    let want = [
        &b"menuentry 'caf\xe9' {\r\n linux /vmlinuz root=UUID="[..],
        ROOT_UUID.as_bytes(),
        b" ro console=ttyS0\r\n initrd /i\r\n}",
    ]
    .concat();
    assert_eq!(new, want);
}

#[test]
fn an_unknown_device_is_told_once() {
    let menu = "linux /vmlinuz root=/dev/sdx1\nlinux /vmlinuz root=/dev/sdx1\n";
    let (_, concerns) = edit(&facts(), "grub.cfg", menu.as_bytes(), Edits::new()).unwrap();
    assert_eq!(concerns.len(), 1);
    assert_eq!(concerns[0].id, "unknown-device");
}

#[test]
fn a_broken_menu_is_an_error_and_no_edit() {
    let error = edit(&facts(), "grub.cfg", b"menuentry 'x {\n", Edits::new()).unwrap_err();
    assert_eq!(error.code, "grub-syntax");
}

fn default_image(menu: &str, env: &[(&str, &str)]) -> String {
    let menu = parse(menu.as_bytes()).unwrap();
    let of = |name: &str| {
        let found = env.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let node = menu.default_node(of);
    menu.linux
        .iter()
        .find(|linux| linux.node == node)
        .map(|linux| linux.image.clone())
        .unwrap_or_default()
}

#[test]
fn the_default_entry_is_found_by_number_id_title_and_path() {
    for (default, image) in [
        ("0", "/boot/vmlinuz-6.1.0-2-amd64"),
        ("1>0", "/boot/vmlinuz-6.1.0-1-amd64"),
        ("advanced>old", "/boot/vmlinuz-6.1.0-1-amd64"),
        ("advanced>Debian, tiny", "/boot/vmlinuz-tiny"),
        ("1", "/boot/vmlinuz-6.1.0-1-amd64"),
        ("gnulinux-simple-1", "/boot/vmlinuz-6.1.0-2-amd64"),
        ("gone", "/boot/vmlinuz-6.1.0-2-amd64"),
    ] {
        let menu = MENU.replace("default=\"0\"", &format!("default=\"{default}\""));
        assert_eq!(default_image(&menu, &[]), image, "{default}");
    }
}

#[test]
fn saved_and_next_entries_come_from_the_environment() {
    let saved = MENU.replace("default=\"0\"", "default=\"${saved_entry}\"");
    let env = [("saved_entry", "advanced>old"), ("next_entry", "")];
    assert_eq!(default_image(&saved, &env), "/boot/vmlinuz-6.1.0-1-amd64");
    assert_eq!(default_image(&saved, &[]), "/boot/vmlinuz-6.1.0-2-amd64");
    assert_eq!(
        default_image(MENU, &[("next_entry", "1>1")]),
        "/boot/vmlinuz-tiny"
    );
}

#[test]
fn memtest_is_no_kernel() {
    let menu = parse(MENU.as_bytes()).unwrap();
    let kernels: Vec<_> = menu.linux.iter().map(Linux::is_kernel).collect();
    assert_eq!(kernels, [true, true, true, false]);
    assert_eq!(menu.linux[0].initrd, ["/boot/initrd.img-6.1.0-2-amd64"]);
}

#[test]
fn arguments_kept_in_variables_are_edited_in_their_quotes() {
    let menu = "if [ -z \"${kernelopts}\" ]; then\n  set kernelopts=\"root=/dev/sda1 ro \"\nfi\nset default_kernelopts='root=/dev/sda1'\nblscfg\n";
    let (new, _) = edit(&facts(), "grub.cfg", menu.as_bytes(), Edits::new()).unwrap();
    let named = format!("root=UUID={ROOT_UUID}");
    let console = "console=tty0 console=ttyS0,115200n8";
    assert_eq!(
        String::from_utf8(new).unwrap(),
        menu.replace("/dev/sda1 ro ", &format!("UUID={ROOT_UUID} ro {console} "))
            .replace("'root=/dev/sda1'", &format!("'{named} {console}'"))
    );
}

#[test]
fn an_entry_in_a_submenu_is_named_by_its_path() {
    let menu = parse(MENU.as_bytes()).unwrap();
    let paths: Vec<_> = (0..menu.nodes.len())
        .map(|node| menu.path_to(node))
        .collect();
    assert_eq!(
        paths,
        [
            "gnulinux-simple-1",
            "advanced",
            "advanced>old",
            "advanced>Debian, tiny",
            "Memory test"
        ]
    );
    assert!(
        paths
            .iter()
            .enumerate()
            .all(|(n, path)| menu.find(path) == Some(n))
    );
}
