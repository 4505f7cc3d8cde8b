package cmd

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// leaves are the commands that do something, by their path.
func leaves(c *cobra.Command) map[string]*cobra.Command {
	out := map[string]*cobra.Command{}
	for _, sub := range c.Commands() {
		for path, leaf := range leaves(sub) {
			out[path] = leaf
		}
	}
	if !c.HasSubCommands() {
		out[c.CommandPath()] = c
	}
	return out
}

// TestHelp: the help of every command says what it is for, its exit codes, and gives examples that would be understood.
func TestHelp(t *testing.T) {
	all := leaves(newRootCmd(&app{}))
	if len(all) < 20 {
		t.Fatalf("only %d commands", len(all))
	}
	for path, c := range all {
		if c.Short == "" || strings.Count(c.Long, "Exit codes:") != 1 || c.Example == "" {
			t.Errorf("%s: short %q, example %q, long %q", path, c.Short, c.Example, c.Long)
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			checkExample(t, path, line)
		}
		for _, line := range strings.Split(c.Long+"\n"+c.Example, "\n") {
			if len([]rune(line)) > 160 {
				t.Errorf("%s: a line of %d characters: %s", path, len([]rune(line)), line)
			}
		}
	}
}

// checkExample reads an example as the program would.
func checkExample(t *testing.T, path, line string) {
	t.Helper()
	_, words, found := strings.Cut(line, "puqkvm ")
	if !found {
		if !strings.Contains(line, "make demo") {
			t.Errorf("%s: the example %q has no puqkvm in it", path, line)
		}
		return
	}
	words, _, _ = strings.Cut(words, "   ") // a remark
	words, _, _ = strings.Cut(words, " <")
	words, _, _ = strings.Cut(words, " >")
	root := newRootCmd(&app{})
	c, args, err := root.Find(strings.Fields(words))
	if err != nil || c.CommandPath() != path {
		t.Errorf("%s: the example %q is %s: %v", path, line, c.CommandPath(), err)
		return
	}
	if err := c.ParseFlags(args); err != nil {
		t.Errorf("%s: the example %q: %v", path, line, err)
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("%s: the example %q: %v", path, line, err)
	}
}

// TestJSON: with --output json every command, done or refused, writes JSON and nothing else to stdout, and says the rest
// on stderr as warnings.
func TestJSON(t *testing.T) {
	w := newWorld(t, scene{})
	w.order(5546)
	w.tick()
	w.service(5547)
	runs := map[string][][]string{
		"puqkvm cron":                  {{"--force"}, {"--list"}, {"--task=nothing"}},
		"puqkvm create":                {{"5547"}, {"5547"}, {"5546"}, {"9"}, {"5547", "--wait"}, {"x"}, {}},
		"puqkvm change-package":        {{"5546"}, {"9"}, {"x"}},
		"puqkvm suspend":               {{"5546"}, {"5547"}, {"9"}},
		"puqkvm unsuspend":             {{"5546"}, {"9"}},
		"puqkvm terminate":             {{"5547"}, {"9"}, {"9", "--wait"}},
		"puqkvm reinstall":             {{"5546", "--confirm=REINSTALL"}, {"5546"}, {"9", "--confirm=REINSTALL"}, {"5546", "--confirm=REINSTALL", "--template=1"}},
		"puqkvm redeploy":              {{"5547", "--confirm=REDEPLOY"}, {"5546"}, {"9", "--confirm=REDEPLOY"}},
		"puqkvm reset-password":        {{"5546"}, {"9"}},
		"puqkvm start":                 {{"5546"}, {"5547"}, {"9"}},
		"puqkvm stop":                  {{"5546"}, {"9"}},
		"puqkvm adopt":                 {{"--all"}, {"--all", "--plan"}, {"5546"}, {"9"}, {}},
		"puqkvm vm forget":             {{"9", "--confirm=FORGET"}, {"5546", "--confirm=FORGET"}, {"5546"}},
		"puqkvm status set":            {{"5546", "ready"}, {"5546", "nonsense"}, {"5547", "remove"}, {"9", "ready"}, {"5546"}},
		"puqkvm vm list":               {{}, {"--status=ready"}, {"--node=none"}, {"--server=x"}},
		"puqkvm vm show":               {{"5546"}, {"5547"}, {"9"}},
		"puqkvm vm log":                {{"5546"}, {"5547"}, {"9"}},
		"puqkvm vm statuses":           {{}, {"x"}},
		"puqkvm explain":               {{"5546"}, {"5547"}, {"9"}, {"x"}},
		"puqkvm product show":          {{"1"}, {"9"}},
		"puqkvm product set":           {{"1", "cpu=2"}, {"1", "cpu=x"}, {"1"}},
		"puqkvm product check":         {{"1"}, {"9"}},
		"puqkvm server list":           {{}},
		"puqkvm server set":            {{"1", "--fingerprint", w.pve.Fingerprint}, {"1"}, {"9", "--insecure"}},
		"puqkvm server test":           {{"1"}, {"1", "--product=1"}, {"9"}},
		"puqkvm ippool add":            {{"--server=1", "--gateway=198.51.100.1/24", "--first=198.51.100.10", "--last=198.51.100.20"}, {"--server=1"}},
		"puqkvm ippool list":           {{}, {"--server=9"}},
		"puqkvm ippool edit":           {{"2", "--last=198.51.100.30"}, {"2"}},
		"puqkvm ippool remove":         {{"2"}, {"2"}},
		"puqkvm ippool release":        {{"192.0.2.77", "--confirm"}, {"192.0.2.77"}},
		"puqkvm dns zone add":          {{"example.com", "--provider=powerdns", "--url=https://127.0.0.1:1", "--secret-file=" + write(t, "token", "a-token-of-forty-characters-0123456789ab")}, {"example.com"}, {"x y", "--provider=powerdns"}},
		"puqkvm dns zone list":         {{}, {"x"}},
		"puqkvm dns zone test":         {{"9"}, {"x"}},
		"puqkvm dns zone edit":         {{"1", "--ttl=300"}, {"9", "--ttl=300"}, {"1", "--ttl=-1"}},
		"puqkvm dns zone remove":       {{"1"}, {"1"}},
		"puqkvm dns sync":              {{"5546"}, {"--all"}, {"--failed"}, {"9"}, {}},
		"puqkvm dns export":            {{}, {"x"}},
		"puqkvm rdns list":             {{"5546"}, {"9"}},
		"puqkvm rdns set":              {{"5546", "192.0.2.10", "mail.example.org"}, {"5546", "192.0.2.99", "mail.example.org"}, {"9", "192.0.2.10", "--default"}, {"5546"}},
		"puqkvm snapshot list":         {{"5546"}, {"9"}, {"5546", "--as-client"}},
		"puqkvm snapshot create":       {{"5546"}, {"9"}, {"5546", "--description=a\nb"}},
		"puqkvm snapshot remove":       {{"5546", "none"}, {"9", "none"}},
		"puqkvm snapshot rollback":     {{"5546", "none"}, {"5546", "none", "--confirm=ROLLBACK"}, {"9", "none", "--confirm=ROLLBACK"}},
		"puqkvm backup list":           {{"5546"}, {"9"}, {"5546", "--as-client"}},
		"puqkvm backup create":         {{"5546"}, {"9"}, {"5546", "--note=a\nb"}},
		"puqkvm backup restore":        {{"5546", "shared:backup/none"}, {"5546", "shared:backup/none", "--confirm=RESTORE"}, {"9", "x", "--confirm=RESTORE"}},
		"puqkvm backup remove":         {{"5546", "shared:backup/none"}, {"9", "x"}},
		"puqkvm backup schedule show":  {{"5546"}, {"9"}},
		"puqkvm backup schedule set":   {{"5546", "--days=all", "--time=03:00"}, {"5546", "--days=x"}, {"9", "--days=all"}, {"5546"}},
		"puqkvm backup schedule clear": {{"5546"}, {"9"}},
		"puqkvm iso list":              {{"5546"}, {"9"}},
		"puqkvm iso mount":             {{"5546", "none.iso"}, {"9", "none.iso"}, {"5546"}},
		"puqkvm iso unmount":           {{"5546"}, {"9"}},
		"puqkvm console":               {{"5546"}, {"9"}, {"x"}},
		"puqkvm stats":                 {{"5546"}, {"5546", "--chart"}, {"5546", "--chart", "cpu", "--timeframe=hour"}, {"5546", "--timeframe=hour"}, {"9"}, {"x"}, {"9", "--chart=all"}, {}},
		"puqkvm settings show":         {{}, {"--sources"}},
		"puqkvm settings set":          {{"cron.wait", "300"}, {"cron.wait", "--default"}, {"cron.wait"}, {"x", "y"}},
		"puqkvm db migrate":            {{}, {"--plan"}},
		"puqkvm version":               {{}, {"x"}},
		"puqkvm completion":            {{"tcsh"}}, // the script itself is no JSON
		"puqkvm simulate":              {{"--speed=-1"}},
		"puqkvm demo":                  {{}},
		"puqkvm no such command ":      {{}},
		"puqkvm firewall show":         {{"5546"}, {"9"}, {"x"}},
		"puqkvm firewall policy":       {{"5546", "--in=DROP"}, {"5546", "--out=x"}, {"5546"}, {"9", "--in=DROP"}},
		"puqkvm firewall rule add":     {{"5546", "--direction=in", "--action=ACCEPT"}, {"5546", "--direction=in", "--action=ACCEPT"}, {"5546", "--direction=in", "--action=x"}, {"5546"}},
		"puqkvm firewall rule move":    {{"5546", "0", "0"}, {"5546", "0", "9"}, {"5546", "x", "0"}, {"5546"}},
		"puqkvm firewall rule remove":  {{"5546", "0"}, {"5546", "0"}, {"5546", "0", "--digest=x"}, {"9", "0"}},
	}
	for path := range leaves(newRootCmd(&app{})) {
		if runs[path] == nil {
			t.Errorf("%s: is not run here", path)
		}
	}
	for path, all := range runs {
		for _, args := range all {
			args = append(append(strings.Fields(path)[1:], "--output", "json"), args...)
			out, errs, code := w.run(args...)
			if out == "" && code == exitQueued && strings.HasSuffix(path, "create") {
				t.Errorf("%s: exit 10 and nothing said", args)
			}
			// A command that tells of events has said so with them; its last word is on stderr.
			events := strings.HasPrefix(out, `{"event":`)
			if out == "" && code == exitRefused && path == "puqkvm cron" {
				events = true
			} else if err := checkJSON(out); err != nil {
				t.Errorf("%s: exit %d: %v\n%s", args, code, err, errs)
			}
			for line := range strings.SplitSeq(strings.TrimSuffix(errs, "\n"), "\n") {
				if line != "" && !strings.HasPrefix(line, "Warning: ") && !events {
					t.Errorf("%s: on stderr: %s", args, line)
				}
			}
		}
	}
}
