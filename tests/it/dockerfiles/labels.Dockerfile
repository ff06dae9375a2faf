#: --label given=here --label multi.word=other
FROM localhost/base:1
LABEL multi.word="first second" \
      empty="" \
      # a comment in between
      quoted="a \"quoted\" word" tab='one	tab'

LABEL "key with spaces"=value single='$HOME stays' dollar="\$5"
LABEL backslash="a\\b" url=https://example.org/?a=b&c=d
LABEL long="first line \
second line"
