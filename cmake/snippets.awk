# SPDX-License-Identifier: Apache-2.0
# Writes each ```cpp block of a page as a source: OUT_1.cpp, OUT_2.cpp, ... and prints "program FILE" for one that has a
# main, "fragment FILE" for one that has none: that becomes the body of a function, with its includes in front.
# #line makes the compiler name the page.
function finish(   file) {
  file = out "_" ++count ".cpp"
  if (body ~ /int main\(/) {
    kind = "program"
    text = includes body
  } else {
    kind = "fragment"
    text = "#include <weft/weft.hpp>\n" includes \
           "void " name "_" count "();\nvoid " name "_" count "() {\nusing namespace std::chrono_literals;\n" body "}\n"
  }
  printf "%s", text > file
  close(file)
  print kind, file
}
/^```cpp/ { inside = 1; includes = ""; body = "#line " NR + 1 " \"" FILENAME "\"\n"; next }
/^```/ { if (inside) finish(); inside = 0; next }
inside && /^#include/ { includes = includes $0 "\n"; body = body "\n"; next }
inside { body = body $0 "\n" }
