package whmcs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/puqkvm/puqkvm/pkg/kvm"
)

// elsewhere is the owner token of a process on another host: nobody here can tell whether it lives.
const elsewhere = "web2/0123456789abcdef/4026531836/77/12345/00112233445566"

func TestClaim(t *testing.T) {
	x := newShop(t)
	x.order(7)
	claim := func(owner, seen string, want bool) {
		t.Helper()
		before := x.vm("claim_owner", 7)
		won, err := x.Claim(t.Context(), 7, owner, seen)
		if err != nil || won != want {
			t.Fatalf("claim for %s of what %q holds: %v, %v", owner, before, won, err)
		}
		if holder := x.vm("claim_owner", 7); want && holder != owner || !want && holder != before {
			t.Fatalf("the holder is %q", holder)
		}
	}
	claim(elsewhere, "", true)
	claim(x.owner, elsewhere, false)
	claim(elsewhere, elsewhere, false) // two workers of one process are two
	if left := x.db.Text("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), claim_until) BETWEEN 50 AND 60 FROM puqProxmoxKVM_vm_info"); left != "1" {
		t.Error("the claim does not hold for about a minute")
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) + INTERVAL 1 SECOND")
	claim(x.owner, elsewhere, false)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 MICROSECOND")
	claim(x.owner, elsewhere, true)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = NULL")
	claim(elsewhere, x.owner, true)
	if won, err := x.Claim(t.Context(), 99, x.owner, ""); err != nil || won {
		t.Errorf("a service without a row: %v, %v", won, err)
	}
}

// A holder of this host that is certainly dead loses its claim at once; whatever cannot be known is not dead.
func TestClaimOfDeadHolder(t *testing.T) {
	x := newShop(t)
	x.order(7)
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	alive, known := startTime("/proc", pid)
	if !known || alive == "" {
		t.Fatal("a living process has no start time")
	}
	token := func(change func(f []string)) string {
		f := strings.Split(x.owner, "/")
		f[3], f[4] = strconv.Itoa(pid), alive
		if change != nil {
			change(f)
		}
		return strings.Join(f, "/")
	}
	holders := []struct {
		name  string
		token string
		dead  bool
	}{
		{"living", token(nil), false},
		{"its pid is another process's now", token(func(f []string) { f[4] = "1" }), true},
		{"of an earlier boot", token(func(f []string) { f[1] = strings.Repeat("0", 32); f[4] = "1" }), false},
		{"of another pid namespace", token(func(f []string) { f[2] = "1"; f[4] = "1" }), false},
		{"without a start time", token(func(f []string) { f[4] = "" }), false},
		{"without a boot id", token(func(f []string) { f[1] = ""; f[4] = "1" }), false},
		{"pid is no number", token(func(f []string) { f[3] = "x"; f[4] = "1" }), false},
		{"pid is a group", token(func(f []string) { f[3] = "-1"; f[4] = "1" }), false},
		{"another program's token", "somebody", false},
	}
	check := func(name, holder string, dead bool) {
		t.Helper()
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = ?, claim_until = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND", holder)
		if won, err := x.Claim(t.Context(), 7, x.owner, holder); err != nil || won != dead {
			t.Errorf("%s: taken over: %v, %v", name, won, err)
		}
	}
	for _, h := range holders {
		check(h.name, h.token, h.dead)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	check("killed", token(nil), true)
	// The list is a moment old: who holds the row now is another, and lives.
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_owner = ?, claim_until = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND", elsewhere)
	if won, err := x.Claim(t.Context(), 7, x.owner, token(nil)); err != nil || won {
		t.Errorf("another's claim was taken, because an earlier holder is dead: %v, %v", won, err)
	}
}

// Where /proc hides other users' processes (hidepid), a process that is not seen there may live.
func TestHiddenHolderIsNotDead(t *testing.T) {
	empty := t.TempDir()
	if gone(empty, os.Getpid(), "1") {
		t.Error("a living process that /proc does not show counts as dead")
	}
	if err := os.MkdirAll(fmt.Sprintf("%s/%d", empty, os.Getpid()), 0o700); err != nil {
		t.Fatal(err)
	}
	if gone(empty, os.Getpid(), "1") {
		t.Error("a living process without a readable stat counts as dead")
	}
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if !gone("/proc", child.Process.Pid, "1") {
		t.Error("a process that has ended is not dead")
	}
}

// Eight connections want one service again and again: one of them gets it each time, and who loses changes nothing.
func TestClaimRace(t *testing.T) {
	isolations(t, func(t *testing.T, strict bool) {
		x := newShop(t)
		x.order(7)
		stores := x.others(8, strict)
		for round := range 100 {
			var winners atomic.Int32
			var winner atomic.Value
			together(len(stores), func(i int) {
				owner := fmt.Sprintf("%s.%d.%d", elsewhere, round, i)
				won, err := stores[i].Claim(t.Context(), 7, owner, "")
				if err != nil {
					t.Error(err)
				}
				if won {
					winners.Add(1)
					winner.Store(owner)
				}
			})
			if winners.Load() != 1 || x.vm("claim_owner", 7) != winner.Load() {
				t.Fatalf("round %d: %d winners, %v won, %q holds it", round, winners.Load(), winner.Load(), x.vm("claim_owner", 7))
			}
			if err := x.Release(t.Context(), 7, winner.Load().(string), ""); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRenewClaims(t *testing.T) {
	x := newShop(t)
	x.order(5, 6, 7)
	x.hold(5)
	x.hold(6)
	x.holdAs(x.Store, 7, elsewhere)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = '2026-01-01'")
	if err := x.RenewClaims(t.Context(), x.owner); err != nil {
		t.Fatal(err)
	}
	if got := x.db.Text("SELECT GROUP_CONCAT(claim_until > UTC_TIMESTAMP(6) + INTERVAL 50 SECOND ORDER BY service_id) FROM puqProxmoxKVM_vm_info"); got != "1,1,0" {
		t.Errorf("renewed: %s", got)
	}
	if err := x.RenewClaims(t.Context(), "nobody"); err != nil {
		t.Errorf("without a claim: %v", err)
	}
}

// A transaction that hangs on another service (a host that has stopped in the middle of one) must not keep this process
// from renewing its own claims, or all its work would be stopped.
func TestRenewClaimsWaitsForNobody(t *testing.T) {
	x := newShop(t)
	x.order(5, 6, 7)
	x.hold(6)
	tx, err := x.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "UPDATE puqProxmoxKVM_vm_info SET message = 'hangs' WHERE service_id IN (5, 7)"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := x.RenewClaims(ctx, x.owner); err != nil {
		t.Error(err)
	}
}

func TestRelease(t *testing.T) {
	x := newShop(t)
	x.order(7)
	x.hold(7)
	before := x.row(7)
	if err := x.Release(t.Context(), 7, elsewhere, "not mine to say"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, x.row(7)); d != "" {
		t.Errorf("another's release changed the row: %s", d)
	}
	long := strings.Repeat("ä", 3000) + "\U0001F600"
	for message, want := range map[string]string{"waiting on UPID": "waiting on UPID", "": "", "smile \U0001F600": "smile \uFFFD", long: strings.Repeat("ä", 2000)} {
		if err := x.Release(t.Context(), 7, x.owner, message); err != nil {
			t.Fatal(err)
		}
		if got := x.vm("message", 7); got != want || x.vm("claim_owner", 7) != "" || x.vm("claim_until", 7) != "" {
			t.Errorf("message %q, holder %q", got, x.vm("claim_owner", 7))
		}
		x.hold(7)
	}
}

// Those under way come first, then the new ones; each the oldest order first. What another process is at work on is left
// out; what one has held is not.
func TestPending(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3, 4, 5, 6, 7)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	order := rand.New(rand.NewPCG(seed, 1)).Perm(7)
	for place, i := range order {
		x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET queued_at = '2026-01-01' + INTERVAL ? MINUTE WHERE service_id = ?", place, i+1)
	}
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'clone' WHERE service_id IN (2, 5)")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'starting', queued_at = NULL WHERE service_id = 3")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET vm_status = 'ready' WHERE service_id = 7")
	x.holdAs(x.Store, 4, elsewhere)
	x.holdAs(x.Store, 6, elsewhere)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET claim_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE service_id = 6")
	want := []int64{3}
	for _, under := range []bool{true, false} {
		for _, i := range order {
			if id := int64(i + 1); id != 3 && id != 4 && id != 7 && (id == 2 || id == 5) == under {
				want = append(want, id)
			}
		}
	}
	list, err := x.Pending(t.Context(), []kvm.Status{kvm.Creation, kvm.Cloned, kvm.Starting}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, p := range list {
		got = append(got, p.ID)
		if (p.Owner != "") != (p.ID == 6) || p.Stuck {
			t.Errorf("%+v", p)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPendingStuck(t *testing.T) {
	x := newShop(t)
	x.order(1, 2, 3, 4)
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = UTC_TIMESTAMP(6) - INTERVAL 901 SECOND")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = UTC_TIMESTAMP(6) - INTERVAL 890 SECOND WHERE service_id = 2")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET alerted = 1 WHERE service_id = 3")
	x.db.Exec("UPDATE puqProxmoxKVM_vm_info SET status_since = NULL WHERE service_id = 4")
	list, err := x.Pending(t.Context(), []kvm.Status{kvm.Creation}, 15*time.Minute)
	if err != nil || len(list) != 4 {
		t.Fatal(list, err)
	}
	for _, p := range list {
		if p.Stuck != (p.ID == 1) {
			t.Errorf("%+v", p)
		}
	}
}

// A statement that fails for another reason than a lost race is an error, not a lost claim.
func TestClaimTellsErrors(t *testing.T) {
	x := newShop(t)
	x.order(7)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if won, err := x.Claim(ctx, 7, x.owner, ""); won || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", won, err)
	}
	x.db.Exec("RENAME TABLE puqProxmoxKVM_vm_info TO gone")
	if won, err := x.Claim(t.Context(), 7, x.owner, ""); won || err == nil || !strings.Contains(err.Error(), "service 7") {
		t.Errorf("%v, %v", won, err)
	}
}
