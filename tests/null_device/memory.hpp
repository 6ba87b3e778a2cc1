// Memory of the devices and pinned memory of the host. Each device has a range of addresses that nobody may access
// (PROT_NONE), from which allocations are handed out, so that an access by the host is caught and reported with its
// stack. A second range, the alias, holds the bytes for copies of this library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace maskedkd::null_device {

int device_of(const void* pointer);   // -1: not memory of a device
char* alias_of(const void* pointer);  // nullptr: not memory of a device
// Whether [pointer, pointer + size) is part of one allocation.
bool is_allocated(const void* pointer, std::size_t size);
bool is_pinned(const void* pointer, std::size_t size);

// nullptr: not enough is free.
void* allocate(int device, std::size_t size);
std::size_t used_bytes(int device);
std::size_t peak_bytes();  // of device 0

// What __cudaRegisterVar says of a variable of the device; its memory is allocated when it is asked for.
void register_variable(const void* host, std::size_t size);

}  // namespace maskedkd::null_device
