// SPDX-License-Identifier: Apache-2.0
// What libweft.so shows. The library is built with hidden visibility; a function, or a class whose typeinfo or vtable
// crosses the library's boundary (every exception type does), carries WEFT_EXPORT between `class` and its name or in
// front of the declaration. A class that is wholly in a header needs it only if it is thrown, caught or cast.
#pragma once

#define WEFT_EXPORT __attribute__((visibility("default")))
