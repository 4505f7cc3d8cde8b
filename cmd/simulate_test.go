package cmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/puqkvm/puqkvm/pkg/clock"
	"github.com/puqkvm/puqkvm/pkg/whmcs/whmcstest"
)

// alone starts puqkvm as a process of its own without any WHMCS.
func alone(t *testing.T, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, self, args...)
	c.Env = []string{asProgram + "=1", "TZ=UTC", "GOCOVERDIR=" + t.TempDir(), whmcstest.EnvDSN + "=" + os.Getenv(whmcstest.EnvDSN), "PATH=" + os.Getenv("PATH")}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, out
}

// TestSimulate: the simulator starts by itself, prints how to get in, lets a plain HTTP client in by token and by ticket,
// and ends with Ctrl-C.
func TestSimulate(t *testing.T) {
	for _, version := range []string{"7.4-17", "8.4.21", "9.2.11"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, out := alone(t, "simulate", "--listen", "127.0.0.1:0", "--pve", version, "--speed", "100", "--output", "json")
			var s simulated
			if err := json.NewDecoder(out).Decode(&s); err != nil {
				t.Fatal(err)
			}
			pin := func(state tls.ConnectionState) error {
				sum := sha256.Sum256(state.PeerCertificates[0].Raw)
				if shown := strings.ToLower(strings.ReplaceAll(s.Fingerprint, ":", "")); shown != hex.EncodeToString(sum[:]) {
					t.Errorf("the fingerprint %s is not the certificate's", s.Fingerprint)
				}
				return nil
			}
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: pin}}}
			ask := func(method, path string, form url.Values, header map[string]string, into any) int {
				req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.Address+"/api2/json"+path, strings.NewReader(form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				if form != nil {
					req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				}
				for k, v := range header {
					req.Header.Set(k, v)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if err := json.NewDecoder(resp.Body).Decode(into); err != nil && resp.StatusCode == http.StatusOK {
					t.Fatal(err)
				}
				return resp.StatusCode
			}
			var v struct{ Data struct{ Version string } }
			if code := ask("GET", "/version", nil, map[string]string{"Authorization": "PVEAPIToken=" + s.Token + "=" + s.Secret}, &v); code != 200 || v.Data.Version != version {
				t.Errorf("by token: %d, version %q", code, v.Data.Version)
			}
			var ticket struct{ Data struct{ Ticket string } }
			if code := ask("POST", "/access/ticket", url.Values{"username": {s.User}, "password": {s.Password}}, nil, &ticket); code != 200 {
				t.Fatalf("the login: %d", code)
			}
			var nodes struct{ Data []struct{ Node string } }
			if code := ask("GET", "/nodes", nil, map[string]string{"Cookie": "PVEAuthCookie=" + url.QueryEscape(ticket.Data.Ticket)}, &nodes); code != 200 || len(nodes.Data) != 2 {
				t.Errorf("by ticket: %d, nodes %+v", code, nodes)
			}
			if code := ask("GET", "/version", nil, map[string]string{"Authorization": "PVEAPIToken=" + s.Token + "=wrong"}, &v); code != 401 {
				t.Errorf("by a wrong token: %d", code)
			}
			if err := c.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(out); err != nil || len(rest) != 0 {
				t.Errorf("also on stdout: %q, %v", rest, err)
			}
			if err := c.Wait(); err != nil {
				t.Errorf("Ctrl-C: %v", err)
			}
		})
	}
}

// TestSimulateText: what it prints for people is what it prints as JSON.
func TestSimulateText(t *testing.T) {
	c, out := alone(t, "simulate", "--listen", "127.0.0.1:0")
	var text bytes.Buffer
	for b := make([]byte, 1); !strings.HasSuffix(text.String(), "Ctrl-C ends it.\n"); text.Write(b) {
		if _, err := io.ReadFull(out, b); err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
	}
	for _, want := range []string{"Proxmox VE 8.4.21, simulated, at https://127.0.0.1:", "\ntoken       root@pam!whmcs\n", "\nsecret      ", "\nuser        root@pam\n", "\npassword    ", "\nfingerprint "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
}

// TestDemo: three orders become ready, and their log is all that is on stdout.
func TestDemo(t *testing.T) {
	c, out := alone(t, "demo")
	log, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	for _, sid := range []string{"5546", "5547", "5548"} {
		if !strings.Contains(string(log), "--- Deploy complete: service="+sid+" status=ready ---\n") {
			t.Errorf("service %s is not ready:\n%s", sid, log)
		}
	}
	if strings.Contains(string(log), "$ puqkvm") {
		t.Errorf("what was typed is on stdout:\n%s", log)
	}
}

// TestSimulateControl: the simulator as a process is told over its control address to refuse a call, and does; an address
// that others could reach is refused before anything is served.
func TestSimulateControl(t *testing.T) {
	c, out := alone(t, "simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--speed", "100", "--output", "json")
	var s simulated
	if err := json.NewDecoder(out).Decode(&s); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(method, url, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(url, "https") {
			req.Header.Set("Authorization", "PVEAPIToken="+s.Token+"="+s.Secret)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	nodes, control := "https://"+s.Address+"/api2/json/nodes", "http://"+s.Control
	if code, text := ask("POST", control+"/faults", `{"path":"/nodes","status":596,"reason":"Connection timed out"}`); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if code, _ := ask("GET", nodes, ""); code != 596 {
		t.Errorf("with the fault: %d", code)
	}
	if code, _ := ask("DELETE", control+"/faults", ""); code != 200 {
		t.Errorf("removing it: %d", code)
	}
	if code, _ := ask("GET", nodes, ""); code != 200 {
		t.Errorf("without it: %d", code)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	var errs bytes.Buffer
	code := Program{Args: []string{"simulate", "--listen", "127.0.0.1:0", "--control", "0.0.0.0:0"}, Stdout: io.Discard, Stderr: &errs, Clock: clock.Wall{}}.Run(t.Context())
	if code != exitRefused || !strings.Contains(errs.String(), "must be a loopback address") || !strings.Contains(errs.String(), "puqkvm simulate --control 127.0.0.1:8007") {
		t.Errorf("exit %d: %s", code, &errs)
	}
}
