#include "numbers/numbers.h"

namespace numbers {

// The sieve of Eratosthenes.
std::vector<int> primes(int limit) {
    std::vector<int> found;
    if (limit < 2) {
        return found;
    }
    const auto size = static_cast<std::size_t>(limit) + 1;
    std::vector<bool> composite(size, false);
    for (std::size_t candidate = 2; candidate < size; ++candidate) {
        if (composite[candidate]) {
            continue;
        }
        found.push_back(static_cast<int>(candidate));
        for (std::size_t multiple = candidate * candidate; multiple < size; multiple += candidate) {
            composite[multiple] = true;
        }
    }
    return found;
}

}  // namespace numbers
