#!/bin/bash
# Takes one guard after the other out of the code and runs the test that must catch it. Nothing in the tree is changed: the
# code without the guard is an overlay of the go command. It fails when a guard's text is not found exactly once, when a
# test is red with the guard in place, and when one stays green without it. The server that scripts/mariadb.sh starts is
# needed. GUARD=words runs those alone whose name has the words.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/puqkvm-guards.XXXXXX")
trap 'rm -rf "$work"' EXIT

say() { printf '%-28s %-34s %s\n' "$@"; }

# once FILE TEXT is true when TEXT stands in FILE exactly once.
once() {
	local text without
	text=$(<"$1")
	without=${text//"$2"/}
	((${#text} - ${#without} == ${#2}))
}

# go_test RUN CRASH ARGS... runs one test of cmd, or of the package that RUN names before a colon; of the crash test what
# begins with CRASH.
go_test() {
	local run=$1 crash=$2 in=cmd
	shift 2
	if [[ $run == *:* ]]; then
		in=${run%%:*} run=${run#*:}
	fi
	PUQKVM_SOAK=${crash:+1} PUQKVM_TEST_CRASH=$crash go test -vet=off -count=1 -timeout 5m "$@" "./$in" -run "^$run\$"
}

failed=0

# guard NAME FILE TEXT INSTEAD TEST SAYS [CRASH] has INSTEAD for TEXT in FILE, and wants TEST to be red and to say SAYS, an
# expression.
guard() {
	local name=$1 file=$2 text=$3 instead=$4 run=$5 says=$6 crash=${7-} whole began=$SECONDS
	[[ $name == *"${GUARD-}"* ]] || return 0
	if ! once "$file" "$text"; then
		say "$name" "-" "its text does not stand in $file exactly once: mend scripts/guards.sh"
		failed=1
		return
	fi
	if ! go_test "$run" "$crash" >"$work/out" 2>&1; then
		say "$name" "$run" "RED WITH THE GUARD IN PLACE"
		tail -n 30 "$work/out"
		failed=1
		return
	fi
	whole=$(<"$file")
	printf '%s\n' "${whole/"$text"/"$instead"}" >"$work/without.go"
	printf '{"Replace": {"%s": "%s"}}\n' "$PWD/$file" "$work/without.go" >"$work/overlay.json"
	if go_test "$run" "$crash" -overlay "$work/overlay.json" >"$work/out" 2>&1; then
		say "$name" "$run" "STAYED GREEN WITHOUT IT"
		failed=1
	elif ! grep -q -e '--- FAIL' "$work/out" || ! grep -qE -e "$says" "$work/out"; then
		say "$name" "$run" "RED WITHOUT IT, BUT NOT FOR THAT"
		tail -n 30 "$work/out"
		failed=1
	else
		say "$name" "caught by $run" "$((SECONDS - began)) s"
	fi
}

guard "claim" pkg/whmcs/claim.go \
	'WHERE service_id = ? AND (claim_owner IS NULL OR claim_until IS NULL' 'WHERE service_id = ? AND (TRUE OR claim_until IS NULL' \
	TestClaimed 'another process made'
guard "compare-and-set" pkg/whmcs/row.go \
	'v.service_id = ? AND v.vm_status = ? AND v.claim_owner = ?`' 'v.service_id = ? AND (TRUE OR v.vm_status = ? OR v.claim_owner = ?)`' \
	TestSilentProcess 'does not say that it has lost the service|it has written'
guard "its owner" pkg/whmcs/row.go \
	'v.service_id = ? AND v.vm_status = ? AND v.claim_owner = ?`' 'v.service_id = ? AND v.vm_status = ? AND (TRUE OR v.claim_owner = ?)`' \
	TestSilentProcessWakes 'silent_test.go:[0-9]+: exit 0'
guard "clone sent" pkg/lifecycle/clone.go \
	's.Row.CloneSent, s.Row.Node = true, ""' 's.Row.CloneSent, s.Row.Node = false, ""' \
	TestCrash '[+] another VM' 'kill -9 after @ cron: pve POST /nodes/{node}/qemu/{vmid}/clone #1'
guard "mark of a VM at our VMID" pkg/lifecycle/clone.go \
	'case vm.Description == kvm.Mark(l.Installation, s.ID), ' 'case true, ' \
	TestAnotherTakesTheNumber 'is taken for ours'
guard "mark of our task's VM" pkg/lifecycle/clone.go \
	'if vm.Description != kvm.Mark(l.Installation, s.ID) {' 'if false {' \
	TestACloneWithoutOurMark 'is at ready, want set_dns'
guard "address key" pkg/whmcs/schema.go \
	'{{"PRIMARY KEY", "address"}, ' '{{"PRIMARY KEY", "address,service_id"}, ' \
	TestAddressTakenMeanwhile '1 for 2 services'
guard "trace of a mail" pkg/mail/deliver.go \
	'return at, found, nil' 'return at, false, nil' \
	TestCrash '  2 mails' 'kill -9 after @ cron: api SendEmail #1'
guard "absence needs quorum" pkg/lifecycle/find.go \
	'case !st.Quorate:' 'case false:' \
	pkg/lifecycle:TestUnknownIsNotGone/terminate 'quorum.*it went on to'
guard "absence needs the cluster" pkg/lifecycle/find.go \
	'case s.Row.Cluster != "" && st.Cluster != s.Row.Cluster:' 'case false:' \
	pkg/lifecycle:TestAnotherCluster 'was given back'
guard "a cluster that is not known" pkg/lifecycle/find.go \
	'if free && s.Row.Cluster == "" {' 'if false {' \
	pkg/lifecycle:TestAnotherCluster 'was given back'
guard "the gate" pkg/kvm/vm.go \
	'case !row.HasUUID(vm.UUID):' 'case false:' \
	pkg/lifecycle:TestRecycledBetweenRows/terminate "is tried on the stranger's VM"
guard "proof after the stop" pkg/lifecycle/stop.go \
	'_, _, err = l.look(ctx, s)
			return true, err' 'return true, nil' \
	pkg/lifecycle:TestRecycledWhileWaiting "is tried on the stranger's VM"
guard "proof before the force" pkg/lifecycle/stop.go \
	'if _, vm, err = l.look(ctx, s); err != nil {' 'if err != nil {' \
	pkg/lifecycle:TestRecycledWhileWaiting "/status/stop is tried on the stranger's VM"
guard "time for a late clone" pkg/lifecycle/find.go \
	'if gone && err == nil && s.Row.UUID == "" && s.Row.CloneSent {' 'if false {' \
	pkg/lifecycle:TestLateClone 'while it is waited for: at remove, the VM is there: true'
guard "whose backup" pkg/kvm/backup.go \
	'case !row.HasUUID(b.UUID):' 'case false:' \
	pkg/lifecycle:TestBackupsGoLast "the other service's backup is gone"
guard "nothing freed before gone" pkg/lifecycle/find.go \
	'return c, kvm.Owned{}, gone, absentErr' 'return c, kvm.Owned{}, true, nil' \
	pkg/lifecycle:TestUnknownIsNotGone/terminate 'was given back'
guard "terminate before the next row" pkg/whmcs/row.go \
	'case kvm.Terminate.Interrupts(to):' 'case false:' \
	TestTerminateBeforeTheNextRow 'went on to another row'
guard "one writer to a DNS server" cmd/wire_dns.go \
	'Lease: a.store, Owner: owner})' 'Owner: owner})' \
	TestEightProcesses 'several rows with the id'
guard "values of others in DNS" pkg/dns/provider.go \
	'(e.Only || slices.Contains(e.Remove, value))' '(true || slices.Contains(e.Remove, value))' \
	pkg/dns:TestEditPlan 'remove: '
guard "records noted before" pkg/lifecycle/dns.go \
	'if err := l.Store.NoteDNS(ctx, s.ID, intents(zones, known, set, gone)); err != nil {' 'if _ = intents(zones, known, set, gone); err != nil {' \
	pkg/lifecycle:TestWhatAServerThatWasDownHasKept 'journal:'
guard "a record of another service" pkg/lifecycle/dns.go \
	'return k.Others && asRecord(k) == r' 'return false && asRecord(k) == r' \
	pkg/lifecycle:TestARecordOfAnother 'the shared one stays'
guard "names of what ends" pkg/lifecycle/dns.go \
	'if fqdn == "" || ending || ended(s) != "" {' 'if _ = ending; false {' \
	pkg/lifecycle:TestOfWhomNothingIsWritten 'cancelled: '
guard "a dead DNS server" pkg/dns/sync.go \
	'if err := srv.closed(s.o.Clock.Now()); err != nil {' 'if err := srv.closed(s.o.Clock.Now()); false {' \
	pkg/dns:TestManyWaitForADeadServerOnce 'it took'
guard "a fresh list at HestiaCP" pkg/dns/hestiacp/remove.go \
	'!b.fresh && b.dead == nil' 'false && b.dead == nil' \
	pkg/dns/hestiacp:TestIDIsUsedAgain '.'
guard "two rows of one id" pkg/dns/hestiacp/remove.go \
	'err := b.alone(subject, e, r)' 'err := error(nil)' \
	pkg/dns/hestiacp:TestDuplicateIDs '.'
guard "nothing pruned by Proxmox" pkg/pve/backup.go \
	'"compress": "zstd", "remove": "0"}' '"compress": "zstd"}' \
	TestBackupsOfAStorageThatPrunes 'backup_storages_test.go'
guard "only what was made here counts" pkg/lifecycle/archives.go \
	'return slices.DeleteFunc(list, func(b kvm.Backup) bool { return !b.Own }), nil' 'return list, nil' \
	TestScripts/backup 'puqkvm backup create 5'
guard "proof before a backup goes" pkg/lifecycle/backup.go \
	'err := c.Inside(ctx, b)
	if errors.Is' 'err := error(nil)
	if errors.Is' \
	TestAJournalThatLies "another's backup is gone"
guard "proof before a restore" pkg/lifecycle/restore.go \
	'if err := c.Inside(ctx, &b); err != nil {' 'if err := error(nil); err != nil {' \
	TestAJournalThatLies 'restore: exit 10'
guard "the task before the lost one" pkg/lifecycle/backup.go \
	'last != before && last != kvm.NoTask {' 'before == "" && last != kvm.NoTask {' \
	'TestCrash$/^Backup' 'made 2 times' 'fails after @ cron: pve POST /nodes/{node}/vzdump #1'
guard "whose task" pkg/pve/tasklist.go \
	't.Type != kind || t.User != c.user' 't.Type != kind || false' \
	pkg/pve:TestOwnTasks 'other'
guard "noted before it is requested" pkg/lifecycle/backup.go \
	's.Row.BackupSent = kvm.SentTo(vm.VM().Node, lastTask(tasks))
	if err := l.Store.Save(ctx, s); err != nil {' 's.Row.BackupSent = kvm.SentTo(vm.VM().Node, lastTask(tasks))
	if false {' \
	'TestCrash$/^Backup' 'made 2 times' 'kill -9 after @ cron: pve POST /nodes/{node}/vzdump #1'
guard "an earlier backup in doubt" pkg/kvm/service.go \
	'return strings.HasPrefix(r.BackupSent, doubt) }' 'return false }' \
	TestAFailedBackupIsNotTheNextOne '1 were made'
guard "the day has its backup" pkg/kvm/schedule.go \
	'return m, true, m.Date <= made' 'return m, true, false' \
	pkg/kvm:TestSchedule 'has its second backup'
guard "slots of a node" pkg/lifecycle/backup.go \
	'leave, err := l.slot(ctx, s, taskVzdump, vm.VM().Node, l.Settings.BackupsPerNode)' 'leave, err := func() {}, error(nil)' \
	TestBackupsTakeTurns 'at once'
guard "looked at before the stop" pkg/lifecycle/restore.go \
	'return pipeline.Result{}, l.CheckRestore(ctx, s, s.Row.From)' 'return pipeline.Result{}, nil' \
	TestRestoreOfWhatIsGone 'and 0 snapshots'
guard "a restore may be at work" pkg/lifecycle/restore.go \
	'if first {
		s.Row.RestoreFailed = true' 'if first {
		s.Row.RestoreFailed = false' \
	pkg/lifecycle:TestRestoreRefusedOnTheWay 'after one that may be at work: at ready'
guard "mark of a rule" pkg/pve/rule.go \
	'"comment": kvm.MarkedComment(r.Comment)}' '"comment": r.Comment}' \
	TestScripts/firewall 'firewall.txtar'
guard "the boot order before a mount" pkg/lifecycle/iso.go \
	's.Row.ISOBoot = n.String()
	return n, l.Store.Save(ctx, s)' 's.Row.ISOBoot = n.String()
	return n, nil' \
	'TestCrash$/^MountISO' 'the order of before is not noted|the boot order is' 'kill -9 after @ iso: pve PUT /nodes/{node}/qemu/{vmid}/config #1'
guard "traffic counted once" pkg/whmcs/statistics.go \
	'in_bytes = VALUES(in_bytes), out_bytes = VALUES(out_bytes), uptime_s = VALUES(uptime_s), sampled_at' 'in_bytes = in_bytes, out_bytes = out_bytes, uptime_s = VALUES(uptime_s), sampled_at' \
	pkg/whmcs:TestCountTraffic '1 12 '
guard "a backup is made once" pkg/lifecycle/backup.go \
	'if s.Row.TaskUPID == "" && s.Row.BackupSent != "" {' 'if false {' \
	pkg/lifecycle:TestBackupWhoseAnswerIsLost '2 backups were begun'
guard "a backup of ended tasks" pkg/pve/tasklist.go \
	'User: u.User, ' 'User: u.User[:len(u.User)-1], ' \
	pkg/lifecycle:TestBackupWhoseAnswerIsLost 'ended, .*2 backups were begun'
guard "a backup of ours goes, too" pkg/lifecycle/find.go \
	'if kind == taskVzdump && s.Row.TaskUPID == "" {' 'if false {' \
	pkg/lifecycle:TestTerminateDuringABackup 'there are'
guard "a backup on another node" pkg/lifecycle/restore.go \
	'if b.Node != node {' 'if false {' \
	pkg/lifecycle:TestRestoreIsRefused 'on another node'
guard "another's restore" pkg/lifecycle/restore.go \
	'return o.UPID == t.UPID' 'return true' \
	pkg/lifecycle:TestRestoreOfAnAdministrator 'the disk is "other"'
guard "disks that a rollback loses" pkg/lifecycle/rollback.go \
	'if len(later) > 0 {' 'if false {' \
	pkg/lifecycle:TestRollbackIsRefused 'a disk that came later'
exit $failed
