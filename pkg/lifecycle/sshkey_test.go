package lifecycle

import "testing"

const aKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMCYyZwaeGMUOFrhxHVsJ1CxJFXZCXZc6FPJhGWK2Sb me@example.com"

func TestPublicKeys(t *testing.T) {
	for _, c := range []struct {
		text, keys string
		dropped    int
	}{
		{"", "", 0},
		{aKey, aKey, 0},
		{"\n  " + aKey + "\n\n", aKey, 0},
		{"my key, please\n" + aKey, aKey, 1},
		{aKey[:40], "", 1},
		{"ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAMCYyZwaeGMUOFrhxHVsJ1CxJFXZCXZc6FPJhGWK2Sb", "", 1},
		{"-----BEGIN OPENSSH PRIVATE KEY-----", "", 1},
	} {
		if keys, dropped := publicKeys(c.text); keys != c.keys || dropped != c.dropped {
			t.Errorf("%q: %q, %d", c.text, keys, dropped)
		}
	}
}

func FuzzPublicKeys(f *testing.F) {
	f.Add(aKey)
	f.Add("a\nb\r\n" + aKey)
	f.Fuzz(func(t *testing.T, text string) {
		keys, _ := publicKeys(text)
		if again, dropped := publicKeys(keys); again != keys || dropped != 0 {
			t.Fatalf("%q becomes %q, then %q with %d dropped", text, keys, again, dropped)
		}
	})
}
