#include <stdexcept>

#include "numbers/numbers.h"

namespace numbers {

std::uint64_t factorial(int n) {
    if (n < 0 || n > 20) {
        throw std::out_of_range("factorial: n must be from 0 to 20");
    }
    std::uint64_t product = 1;
    for (int factor = 2; factor <= n; ++factor) {
        product *= static_cast<std::uint64_t>(factor);
    }
    return product;
}

}  // namespace numbers
