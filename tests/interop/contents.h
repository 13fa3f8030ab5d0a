// Bytes that tell which datum they belong to; the tests at the other end know the same.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void contents_fill(uint8_t* bytes, size_t size, const char* id);
bool contents_match(const uint8_t* bytes, size_t size, const char* id);
