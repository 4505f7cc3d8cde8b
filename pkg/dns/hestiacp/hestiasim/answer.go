package hestiasim

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// header is where an exit code stands.
const header = "Hestia-Exit-Code"

// status is the HTTP status of an exit code (exit_code_to_http_code); of 100 and more it is the code itself.
func status(exit int) int {
	switch {
	case exit >= 100 && exit != notFound:
		return exit
	case exit == exitOK:
		return http.StatusOK
	case exit == exitInvalid:
		return http.StatusUnprocessableEntity
	case exit == exitSuspended, exit == 6, exit == exitPassword, exit == exitForbidden, exit == exitAPIOff:
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

// apiError refuses a request before its command (api_error).
func apiError(w http.ResponseWriter, c Call, exit int, text string) {
	w.Header().Set(header, strconv.Itoa(exit))
	w.WriteHeader(status(exit))
	switch {
	case c.Code:
		text = strconv.Itoa(exit)
	case !strings.HasPrefix(text, "Error:"):
		text = "Error: " + text
	}
	_, _ = io.WriteString(w, text)
}

// answer is the end of a call with an access key (api_connection).
func answer(w http.ResponseWriter, c Call, exit int, out string) {
	w.Header().Set(header, strconv.Itoa(exit))
	var object map[string]any
	switch {
	case c.Code:
		out = strconv.Itoa(exit)
	case exit != exitOK:
		w.WriteHeader(status(exit))
	case out == "":
		w.WriteHeader(http.StatusNoContent)
		return
	case json.Unmarshal([]byte(out), &object) == nil && len(object) > 0:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	_, _ = io.WriteString(w, out)
}

// answerOld is the end of a call with an old login (api_legacy): HTTP 200, whatever came of it.
func (s *Server) answerOld(w http.ResponseWriter, c Call, exit int, out string) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	switch {
	case c.Code:
		out = strconv.Itoa(exit)
	case out == "":
		out = "OK"
	default:
		out += "\n"
	}
	_, _ = io.WriteString(w, s.o.Warnings+out)
}
