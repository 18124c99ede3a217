#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes rpm databases in all three formats with the real rpm, and packs them beside this file:
# SQLite and ndb with Debian 13's rpm 4.20, Berkeley DB with Debian 11's rpm 4.16.
# Needs: root, mmdebstrap, zstd.
set -eu
out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for suite in trixie bullseye; do
	mmdebstrap -q --variant=essential --include=rpm,sqlite3 "$suite" "$work/$suite"
done
mkdir "$work/trixie/w"
in_trixie() { chroot "$work/trixie" env SOURCE_DATE_EPOCH=1700000000 "$@"; }

# name version release epoch arch files
spec() {
	cat >"$work/trixie/w/$1.spec" <<SPEC
Name: $1
Version: $2
Release: $3
${4:+Epoch: $4}
Summary: A package for tests of readers
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
$(for need in $6; do echo "Requires: $need"; done)
%description
Nothing.
%install
$(for file in $5; do echo "mkdir -p %{buildroot}\$(dirname $file); echo $1 >%{buildroot}$file"; done)
%files
$(for file in $5; do echo "$file"; done)
SPEC
	in_trixie rpmbuild -bb --quiet --define "_topdir /w/top" --define "_rpmdir /w/rpms" \
		--define "clamp_mtime_to_source_date_epoch 1" --define "use_source_date_epoch_as_buildtime 1" \
		--define "_buildhost localhost" "/w/$1.spec" >/dev/null 2>&1
}

spec open-vm-tools 12.3.5 2.el9 "" "/usr/bin/vmtoolsd /usr/lib/systemd/system/vmtoolsd.service /usr/lib/systemd/system/vgauthd.service /etc/vmware-tools/tools.conf" "systemd"
spec open-vm-tools-desktop 12.3.5 2.el9 "" "/usr/bin/vmware-user-suid-wrapper" "open-vm-tools"
spec dracut 057 70.git20240819.el9 "" "/usr/bin/dracut" ""
spec kernel-core 5.14.0 503.el9 "" "$(i=0; while [ $i -lt 600 ]; do echo "/usr/lib/modules/5.14.0-503.el9.x86_64/kernel/drivers/some/where/module_number_$i.ko.xz"; i=$((i + 1)); done)" ""
spec systemd 252 46.el9 "" "/usr/lib/systemd/systemd" ""
spec qemu-guest-agent 9.0.0 10.el9 17 "/usr/bin/qemu-ga" ""
i=0
while [ $i -lt 40 ]; do
	spec "filler-$i" 1 1 "" "/usr/share/filler/$i" ""
	i=$((i + 1))
done

write() { # root backend
	chroot "$1" sh -euc "rpm --define '_db_backend $2' --dbpath /w/$2 --initdb
		rpm --define '_db_backend $2' --dbpath /w/$2 --justdb --nodeps --nosignature \
			-i /w/rpms/noarch/*.rpm"
}
cp -a "$work/trixie/w" "$work/bullseye/w"
write "$work/trixie" sqlite
write "$work/trixie" ndb
write "$work/bullseye" bdb
in_trixie sqlite3 /w/sqlite/rpmdb.sqlite 'pragma journal_mode=delete; vacuum;' >/dev/null

for file in trixie/w/sqlite/rpmdb.sqlite trixie/w/ndb/Packages.db bullseye/w/bdb/Packages; do
	zstd -q -19 -f "$work/$file" -o "$out/$(basename "$file").zst"
done
