#include <stdexcept>
#include <utility>

#include "numbers/numbers.h"

namespace numbers {

std::uint64_t fibonacci(int n) {
    if (n < 0 || n > 93) {
        throw std::out_of_range("fibonacci: n must be from 0 to 93");
    }
    std::uint64_t current = 0;
    std::uint64_t next = 1;
    for (int step = 0; step < n; ++step) {
        current = std::exchange(next, current + next);
    }
    return current;
}

}  // namespace numbers
