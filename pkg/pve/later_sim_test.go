package pve

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/kvm"
	"github.com/puqkvm/puqkvm/pkg/pve/pvesim"
	"github.com/puqkvm/puqkvm/pkg/trust"
)

var flavours = []string{"7.4-17", "8.4.21", "9.2.4"}

// on runs a test on each version, with VM 100 deployed on pve1.
func on(t *testing.T, do func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned)) {
	t.Helper()
	for _, version := range flavours {
		t.Run(version, func(t *testing.T) {
			c, sim := simulated(t, version)
			do(t, version, c, sim, deploy(t, c, kvm.CloneRequest{Node: "pve1", Template: 9000, VMID: 100, Name: "vps-1-2", Description: "puqkvm:x:2"}))
		})
	}
}

// end is how a call ended, with its task.
func end(t *testing.T, c *Client) func(id kvm.UPID, err error) error {
	return func(id kvm.UPID, err error) error {
		t.Helper()
		if err == nil && id != "" {
			err = c.Wait(t.Context(), id, time.Hour)
		}
		return err
	}
}

// poor is a client that may only look.
func poor(t *testing.T, c *Client, sim *pvesim.Cluster) *Client {
	t.Helper()
	const token = "poor@pve!t"
	sim.AddToken(token, testSecret, false)
	sim.Grant("/", "poor@pve", "VM.Audit", "Datastore.Audit")
	p, err := New(Options{URLs: c.trip.hosts, User: token, Secret: kvm.NewSecret(testSecret), TLS: trust.Trust{Insecure: true}, Clock: c.clock})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPowerOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		power := func() kvm.Power {
			t.Helper()
			p, _, err := c.Power(ctx, o)
			must(t, err)
			return p
		}
		is(t, "shutdown of a stopped VM", ended(c.Shutdown(ctx, o, time.Minute)), nil)
		is(t, "stop of a stopped VM", ended(c.Stop(ctx, o)), nil)
		must(t, ended(c.Start(ctx, o)))
		is(t, "shutdown", ended(c.Shutdown(ctx, o, time.Minute)), nil)
		if p := power(); p != kvm.Stopped {
			t.Errorf("after the shutdown it is %s", p)
		}
		must(t, ended(c.Start(ctx, o)))
		must(t, sim.SetDeaf(100, true))
		is(t, "shutdown of a deaf guest", ended(c.Shutdown(ctx, o, 30*time.Second)), kvm.ErrState)
		if p := power(); p != kvm.Running {
			t.Errorf("a shutdown that must not force left it %s", p)
		}

		id, err := c.Shutdown(ctx, o, 10*time.Minute)
		must(t, err)
		tasks, err := c.Running(ctx, "pve1", 100)
		if err != nil || len(tasks) != 1 || tasks[0].UPID != id || tasks[0].Type != "qmshutdown" || tasks[0].User != "whmcs@pve!puqkvm" ||
			!tasks[0].Started.Equal(c.clock.Now().Truncate(time.Second)) {
			t.Errorf("running: %+v, %v", tasks, err)
		}
		for _, where := range []struct {
			node string
			vmid int
		}{{"pve2", 100}, {"pve1", 101}} {
			if tasks, err := c.Running(ctx, where.node, where.vmid); len(tasks) != 0 || err != nil {
				t.Errorf("running %v: %+v, %v", where, tasks, err)
			}
		}
		err = ended(c.Stop(ctx, o))
		if version == "7.4-17" {
			is(t, "stop while a shutdown waits", err, kvm.ErrBusy)
			is(t, "the shutdown", c.Wait(ctx, id, time.Hour), kvm.ErrState)
			is(t, "stop", ended(c.Stop(ctx, o)), nil)
		} else {
			is(t, "stop while a shutdown waits", err, nil)
			is(t, "the shutdown that was overruled", c.Wait(ctx, id, time.Hour), kvm.ErrUnknown)
		}
		if p := power(); p != kvm.Stopped {
			t.Errorf("after the stop it is %s", p)
		}
		if tasks, err := c.Running(ctx, "pve1", 100); len(tasks) != 0 || err != nil {
			t.Errorf("running at the end: %+v, %v", tasks, err)
		}

		must(t, c.SetOnBoot(ctx, o, true))
		is(t, "onboot with an old digest", c.SetOnBoot(ctx, o, false), kvm.ErrChanged)
		if o = proof(t, c, 100); !o.VM().OnBoot {
			t.Error("onboot was not set")
		}
		must(t, c.SetOnBoot(ctx, o, false))
		if o = proof(t, c, 100); o.VM().OnBoot {
			t.Error("onboot was not taken away")
		}
		must(t, sim.SetPower(100, kvm.Running))
		must(t, sim.SetLock(100, "backup"))
		is(t, "stop of a locked VM", ended(c.Stop(ctx, o)), kvm.ErrBusy)
		is(t, "shutdown of a locked VM", ended(c.Shutdown(ctx, o, time.Minute)), kvm.ErrBusy)
		p := poor(t, c, sim)
		is(t, "stop without the privilege", end(t, p)(p.Stop(ctx, o)), kvm.ErrDenied)
		sim.SetQuorum(false)
		is(t, "stop without a quorum", ended(c.Stop(ctx, o)), kvm.ErrUnreachable)
	})
}

func TestDeleteOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		must(t, sim.SetPower(100, kvm.Running))
		is(t, "a running VM", ended(c.Delete(ctx, o)), kvm.ErrState)
		must(t, sim.SetPower(100, kvm.Stopped))
		must(t, sim.SetConfig(100, map[string]string{"protection": "1"}))
		err := ended(c.Delete(ctx, o))
		is(t, "a protected VM", err, kvm.ErrPermanent)
		if errors.Is(err, kvm.ErrBusy) {
			t.Error("protection looks like busy")
		}
		must(t, sim.SetConfig(100, map[string]string{"protection": ""}))
		must(t, sim.SetLock(100, "backup"))
		err = ended(c.Delete(ctx, o))
		is(t, "a locked VM", err, kvm.ErrBusy)
		if errors.Is(err, kvm.ErrPermanent) {
			t.Error("busy looks permanent")
		}
		must(t, sim.SetLock(100, ""))
		p := poor(t, c, sim)
		is(t, "without the privilege", end(t, p)(p.Delete(ctx, o)), kvm.ErrDenied)
		sim.SetNodeDown("pve1", true)
		is(t, "node down", ended(c.Delete(ctx, o)), kvm.ErrUnreachable)
		sim.SetNodeDown("pve1", false)
		c.peers = newPeers() // it would be left alone for a minute
		sim.SetQuorum(false)
		is(t, "no quorum", ended(c.Delete(ctx, o)), kvm.ErrUnreachable)
		sim.SetQuorum(true)
		if _, found := sim.VM(100); !found {
			t.Fatal("a refused Delete deleted it")
		}

		// Between the call and its task somebody starts the VM: the task refuses.
		id, err := c.Delete(ctx, o)
		must(t, err)
		must(t, sim.SetPower(100, kvm.Running))
		is(t, "started meanwhile", c.Wait(ctx, id, time.Minute), kvm.ErrState)
		must(t, sim.SetPower(100, kvm.Stopped))

		if _, err := sim.AddBackup("local", 100, c.clock.Now()); err != nil {
			t.Fatal(err)
		}
		must(t, sim.AddSnapshot(100, "s1", ""))
		is(t, "good", ended(c.Delete(ctx, o)), nil)
		if _, found := sim.VM(100); found {
			t.Error("it is still there")
		}
		for _, v := range sim.Volumes(100) {
			if !strings.Contains(v, "vzdump") {
				t.Errorf("the volume %s is left", v)
			}
		}
		if len(sim.Backups(100)) != 1 {
			t.Error("its backup is gone")
		}
		is(t, "gone already", ended(c.Delete(ctx, o)), kvm.ErrNotHere)
		_, err = c.VM(ctx, "pve1", 100)
		is(t, "the configuration", err, kvm.ErrNotHere)
	})
}

func TestSnapshotsOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, ended := t.Context(), end(t, c)
		if list, err := c.Snapshots(ctx, o); len(list) != 0 || err != nil {
			t.Errorf("%+v, %v", list, err)
		}
		take := func(name string, p params) {
			t.Helper()
			p["snapname"] = name
			must(t, ended(c.task(ctx, http.MethodPost, guest(o.VM(), "snapshot"), p)))
		}
		take("zz", params{"description": "first\nsecond\n"})
		began := c.clock.Now()
		must(t, ended(c.Start(ctx, o)))
		take("aa", params{"vmstate": "1"})
		list, err := c.Snapshots(ctx, o)
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		if a, b := list[0], list[1]; a.Name != "zz" || a.Description != "first\nsecond" || a.RAM || a.Parent != "" || a.State != "" || a.Time.After(began) ||
			b.Name != "aa" || !b.RAM || b.Parent != "zz" || b.Time.Before(began.Truncate(time.Second)) {
			t.Errorf("%+v", list)
		}
		is(t, "unknown", ended(c.DeleteSnapshot(ctx, o, "nosuch")), kvm.ErrNotFound)
		must(t, sim.SetLock(100, "backup"))
		is(t, "locked", ended(c.DeleteSnapshot(ctx, o, "zz")), kvm.ErrBusy)
		must(t, sim.SetLock(100, ""))
		p := poor(t, c, sim)
		is(t, "without the privilege", end(t, p)(p.DeleteSnapshot(ctx, o, "zz")), kvm.ErrDenied)

		id, err := c.DeleteSnapshot(ctx, o, "zz")
		must(t, err)
		seen := false // half removed
		for !seen {
			list, err := c.Snapshots(ctx, o)
			must(t, err)
			if len(list) < 2 {
				break
			}
			seen = list[0].State == "delete"
			must(t, c.clock.Sleep(ctx, 10*time.Millisecond))
		}
		if !seen {
			t.Error("no half removed snapshot was seen")
		}
		must(t, c.Wait(ctx, id, time.Minute))
		list, err = c.Snapshots(ctx, o)
		if err != nil || len(list) != 1 || list[0].Name != "aa" || list[0].Parent != "" {
			t.Errorf("%+v, %v", list, err)
		}
		is(t, "again", ended(c.DeleteSnapshot(ctx, o, "zz")), kvm.ErrNotFound)
		sim.RemoveVM(100)
		_, err = c.Snapshots(ctx, o)
		is(t, "of a VM that is gone", err, kvm.ErrNotHere)
		is(t, "deleting one of a VM that is gone", ended(c.DeleteSnapshot(ctx, o, "aa")), kvm.ErrNotHere)
	})
}

func TestGuestPasswordOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx, secret := t.Context(), kvm.NewSecret("Correct-Horse-16")
		set := func() error { return c.SetGuestPassword(ctx, o, "debian", secret) }
		must(t, sim.SetPower(100, kvm.Running))
		is(t, "agent not enabled", set(), kvm.ErrState)
		must(t, sim.SetConfig(100, map[string]string{"agent": "1"}))
		is(t, "agent silent", set(), kvm.ErrState)
		must(t, sim.SetPower(100, kvm.Stopped))
		must(t, sim.SetGuest(100, &pvesim.Guest{}))
		is(t, "not running", set(), kvm.ErrState)
		must(t, sim.SetPower(100, kvm.Running))
		is(t, "good", set(), nil)
		if vm, _ := sim.VM(100); vm.Passwords["debian"] != secret.Reveal() {
			t.Errorf("the guest has %q", vm.Passwords)
		}
		is(t, "no such user", c.SetGuestPassword(ctx, o, "nobody", secret), kvm.ErrPermanent)
		is(t, "too short", c.SetGuestPassword(ctx, o, "debian", kvm.NewSecret("abcd")), kvm.ErrInvalid)
		is(t, "without the privilege", poor(t, c, sim).SetGuestPassword(ctx, o, "debian", secret), kvm.ErrDenied)
		sim.AddFault(pvesim.Fault{Method: "POST", Path: "/nodes/{node}/qemu/{vmid}/agent/set-user-password", Count: 1, ResetAfter: true})
		is(t, "answer lost", set(), kvm.ErrUnknown)
		sim.RemoveVM(100)
		is(t, "VM gone", set(), kvm.ErrNotHere)
	})
}

func TestStandingOfASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		name, err := c.ClusterName(t.Context())
		if err != nil || name != "sim" {
			t.Errorf("%q, %v", name, err)
		}
		is := func(what string, quorate bool, offline ...string) {
			t.Helper()
			s, err := c.Standing(t.Context())
			if err != nil || s.Cluster != "sim" || s.Quorate != quorate || !slices.Equal(s.Offline, offline) {
				t.Errorf("%s: %+v, %v", what, s, err)
			}
		}
		is("all is well", true)
		sim.SetNodeDown("pve2", true)
		is("a node is down", true, "pve2")
		sim.SetQuorum(false)
		is("and the quorum is lost", false, "pve2")
		_, err = poor(t, c, sim).Standing(t.Context())
		if !errors.Is(err, kvm.ErrDenied) {
			t.Errorf("without the privilege: %v", err)
		}
	})
}

func TestTaskLogOnASimulatedCluster(t *testing.T) {
	on(t, func(t *testing.T, version string, c *Client, sim *pvesim.Cluster, o kvm.Owned) {
		ctx := t.Context()
		id, err := c.task(ctx, http.MethodPost, "/nodes/pve1/vzdump", params{"vmid": "100", "storage": "local", "remove": "0"})
		must(t, err)
		must(t, c.Wait(ctx, id, time.Hour))
		i := slices.IndexFunc(sim.Tasks(), func(x pvesim.TaskState) bool { return x.UPID == string(id) })
		whole := sim.Tasks()[i].Log
		if len(whole) < 6 {
			t.Fatalf("%q", whole)
		}
		for _, n := range []int{1, 3, len(whole), len(whole) + 1, 1000} {
			want := whole[max(0, len(whole)-n):]
			if got, err := c.TaskLog(ctx, id, n); err != nil || !slices.EqualFunc(got, want, func(a, b string) bool { return a == oneLine(b) }) {
				t.Errorf("%d: %q, %v; want %q", n, got, err, want)
			}
		}
		sim.ForgetTask(string(id))
		if got, err := c.TaskLog(ctx, id, 5); got != nil || !errors.Is(err, kvm.ErrNotFound) {
			t.Errorf("a log that was cleared away: %q, %v", got, err)
		}
	})
}
