// Three small number functions: the library of the example.
#pragma once

#include <cstdint>
#include <vector>

namespace numbers {

// n! for n from 0 to 20, the largest that 64 bits hold. Throws std::out_of_range.
std::uint64_t factorial(int n);

// The n-th Fibonacci number, F(0) = 0 and F(1) = 1, for n from 0 to 93. Throws std::out_of_range.
std::uint64_t fibonacci(int n);

// All primes up to and including `limit`, ascending.
std::vector<int> primes(int limit);

}  // namespace numbers
